"""What each stage of a pipeline does with what the one before it gives."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import Cancelled, EmptyPrompt
from lingos_shell.inputs import read_text
from lingos_shell.language.binding import Piped, bind
from lingos_shell.language.builtin import Request
from lingos_shell.language.conversation import Conversation
from lingos_shell.language.evaluation import Evaluation
from lingos_shell.language.flows import Chunk, Done, Flow, as_text, call_flow, collected
from lingos_shell.language.host import run_command
from lingos_shell.language.sink import Narration, Sink
from lingos_shell.language.syntax import Call, HostCommand, Stage, Talk, Value, Word
from lingos_shell.language.values import text_of

if TYPE_CHECKING:
    from lingos_shell.language.interpreter import Interpreter


@dataclass(frozen=True, slots=True)
class Run:
    """What the stages of one pipeline share."""

    shell: Interpreter
    client: KernelClient
    """Of the session, or with the process of a background job."""
    sink: Sink
    conversation: Conversation
    evaluation: Evaluation


def stage_flow(run: Run, stage: Stage, feed: Flow | None, source: Word | None) -> Flow:
    """The pieces that a stage makes of the pieces of `feed`, or of the file `source`."""
    match stage:
        case Talk(word):
            return _talk(run, word, feed)
        case Call():
            return _call(run, stage, feed, source)
        case HostCommand(command):
            return _host(run, command, feed)
        case Value(word):
            return _value(run, word)


async def _value(run: Run, word: Word) -> Flow:
    value, _ = await run.evaluation.value(word)
    yield Done(value)


async def _talk(run: Run, word: Word, feed: Flow | None) -> Flow:
    """The model's answer; what came through the pipe stands before the message."""
    piped = text_of(await collected(feed)).strip("\n") if feed else ""
    parts = [piped, await run.evaluation.message(word)]
    message = "\n\n".join(part for part in parts if part.strip())
    if not message:
        raise EmptyPrompt("there is nothing to answer", hint="type some text")
    conversation = run.conversation
    arguments = await conversation.arguments(run.client, message, run.shell.settings)
    async with aclosing(call_flow(run.client, "llm.chat", arguments, run.sink)) as flow:
        async for piece in flow:
            if isinstance(piece, Done):
                conversation.answered(message, piece.value)
            yield piece


async def _call(run: Run, call: Call, feed: Flow | None, source: Word | None) -> Flow:
    info = await run.shell.names.find(call.name)
    given = [await run.evaluation.given(argument) for argument in call.arguments]
    piped = await _piped(feed, source, run.evaluation)
    arguments = bind(given, info.arguments, piped)
    word = run.shell.words.get(call.name)
    if word is not None:
        value = word.run(Request(run.shell, arguments, run.sink))
        yield Done(await value if inspect.isawaitable(value) else value, call.name)
        return
    client = run.client
    if info.confirm:
        if not await run.sink.approve(info.name, arguments):
            raise Cancelled(f"{info.name} was not called")
        client = client.with_options(confirmed=True)
    async with aclosing(call_flow(client, info.name, arguments, run.sink)) as flow:
        async for piece in flow:
            yield piece


async def _piped(feed: Flow | None, source: Word | None, evaluation: Evaluation) -> Piped | None:
    if feed is not None:
        return Piped(await collected(feed))
    if source is not None:
        name, _ = await evaluation.value(source)
        return Piped(await asyncio.to_thread(read_text, text_of(name)))
    return None


async def _host(run: Run, command: str, feed: Flow | None) -> Flow:
    """The output of a host command, which reads what comes while it comes."""

    async def narrate(text: str) -> None:
        await run.sink.show(Narration(text))

    texts: list[str] = []
    output = run_command(
        command, as_text(feed) if feed else None, variables=run.shell.variables, narrate=narrate
    )
    async with aclosing(output):
        async for text in output:
            texts.append(text)
            yield Chunk(text)
    yield Done("".join(texts).rstrip("\n"), "!")
