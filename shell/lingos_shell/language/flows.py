"""What runs through a pipe: pieces as they come, and at the end the whole value."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import KernelUnavailable, from_wire
from lingos_kernel.syscalls.events import Accepted, Failure, Item, Progress, Result
from lingos_shell.language.sink import Progressed, Sink, ToolCalled, ToolReturned
from lingos_shell.language.values import text_of


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some text of the value."""

    text: str


@dataclass(frozen=True, slots=True)
class Element:
    """A streamed item that is no text."""

    data: Any


@dataclass(frozen=True, slots=True)
class Done:
    """The whole value; the last piece."""

    value: Any
    source: str = ""


Piece = Chunk | Element | Done
Flow = AsyncGenerator[Piece, None]


async def collected(flow: Flow) -> Any:
    """The value that a flow ends in."""
    async with aclosing(flow) as pieces:
        async for piece in pieces:
            if isinstance(piece, Done):
                return piece.value
    raise AssertionError("a flow ends in its value")


async def as_text(flow: Flow) -> AsyncIterator[str]:
    """The text of a flow as it comes: chunks, items line by line, else the value's text."""
    has_streamed = False
    async with aclosing(flow) as pieces:
        async for piece in pieces:
            match piece:
                case Chunk(text):
                    has_streamed = True
                    yield text
                case Element(data):
                    has_streamed = True
                    yield f"{text_of(data)}\n"
                case Done(value) if not has_streamed:
                    yield text_of(value)


async def call_flow(
    client: KernelClient, name: str, arguments: Mapping[str, Any], sink: Sink
) -> Flow:
    """The pieces of a syscall; progress and tool calls go to the sink.

    Closing it ends the call in the kernel. Raises the error that the call ended in.
    """
    has_text = False
    async with aclosing(client.stream(name, **arguments)) as events:
        async for event in events:
            match event:
                case Item({"text": str(text), **more}) if not more.get("choice"):
                    text = text if has_text else text.lstrip()  # templates leave a blank there
                    has_text = has_text or bool(text)
                    if text:
                        yield Chunk(text)
                case Item(data):
                    if not await _tell_of_tool(data, sink):
                        yield Chunk(data) if isinstance(data, str) else Element(data)
                case Progress(done, total, unit, label):
                    await sink.show(Progressed(done, total, unit, label))
                case Failure(error):
                    raise from_wire(error)
                case Result(data):
                    yield Done(_trimmed(data), name)
                    return
                case Accepted():
                    pass
    raise KernelUnavailable(
        f"the kernel went away in the middle of {name}",
        hint="`lingos kernel logs` shows why; try again",
    )


async def _tell_of_tool(data: Any, sink: Sink) -> bool:
    match data:
        case {"tool_call": {"name": name, "arguments": arguments}}:
            await sink.show(ToolCalled(name, arguments))
        case {"tool_result": {"name": name, "error": error}}:
            await sink.show(ToolReturned(name, error=error))
        case {"tool_result": {"name": name, "value": value}}:
            await sink.show(ToolReturned(name, value))
        case {"text": str()}:
            pass  # of another choice; the result holds it
        case _:
            return False
    return True


def _trimmed(value: Any) -> Any:
    match value:
        case {"text": str(text), "finish_reason": _}:
            return {**value, "text": text.strip()}
    return value
