"""`lingos chat`: a conversation, line by line."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import LingOSError
from lingos_shell.calls import follow
from lingos_shell.commands.options import chat_options, chat_options_from
from lingos_shell.failures import Ending, report
from lingos_shell.generation import AnswerPrinter, ChatOptions, warn_if_cut
from lingos_shell.inputs import decode, require_unicode
from lingos_shell.invocation import Invocation, common_options
from lingos_shell.output import is_terminal, narrate, write_json_line
from lingos_shell.runner import cancelled_by_interrupt

PROMPT = "> "
WELCOME = "Type a message. /clear forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops."

Lines = AsyncGenerator[str, None]


@click.command("chat")
@chat_options
@common_options
def command(invocation: Invocation, /, **chosen: Any) -> None:
    """Talk with a model, line by line.

    The whole conversation goes with each message. Ctrl-C stops the answer, not the conversation.
    When stdin is not a terminal each of its lines is one message; --json then writes one result
    per line.
    """
    options = chat_options_from(**chosen) if chosen else ChatOptions()

    async def work(client: KernelClient) -> None:
        await client.open_process("chat")
        is_interactive = is_terminal(sys.stdin)
        if is_interactive:
            narrate(WELCOME)
        conversation = Conversation(client, options, as_json=invocation.as_json)
        async with aclosing(typed_lines() if is_interactive else piped_lines()) as lines:
            await conversation.hold(lines)

    invocation.run(work)


_COMMAND = re.compile(r"/\w+")


class Conversation:
    """The messages so far, and how one more is answered."""

    def __init__(self, client: KernelClient, options: ChatOptions, *, as_json: bool) -> None:
        self._client = client
        self._options = options
        self._as_json = as_json
        self._messages: list[dict[str, Any]] = []

    async def hold(self, lines: Lines) -> None:
        """Answer each line until there are no more. An error ends its turn only."""
        async for line in lines:
            match line.strip():
                case "":
                    continue
                case "/exit" | "/quit":
                    return
                case "/clear":
                    self._messages.clear()
                    narrate("forgotten")
                case text if _COMMAND.fullmatch(text):
                    narrate(f"there is no command {text}; there are /clear, /exit and /quit")
                case text:
                    await self._take_turn(text)

    async def _take_turn(self, text: str) -> None:
        self._messages.append({"role": "user", "content": text})
        turn = asyncio.ensure_future(self._answer())
        async with cancelled_by_interrupt(turn):
            await asyncio.wait([turn])
        if turn.cancelled():
            narrate("stopped")
        elif isinstance(error := turn.exception(), LingOSError):
            report(Ending(error.exit_code, error), as_json=self._as_json)
        else:
            result = turn.result()
            self._messages.append({"role": "assistant", "content": result["text"]})
            return
        self._messages.pop()  # an unanswered message would confuse the next turn

    async def _answer(self) -> dict[str, Any]:
        arguments = await self._options.arguments(self._client, self._messages)
        printer = AnswerPrinter()
        on_item = printer.narrate_tools if self._as_json else printer.item
        try:
            result: dict[str, Any] = await follow(
                self._client, "llm.chat", arguments, on_item=on_item
            )
        finally:
            printer.finish()
        write_json_line(result) if self._as_json else warn_if_cut(result)
        return result


async def typed_lines() -> Lines:
    """Lines typed at the terminal, with editing and this session's history."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    while True:
        try:
            yield require_unicode(await session.prompt_async(PROMPT), "the message")
        except KeyboardInterrupt:
            continue  # Ctrl-C at the prompt empties the line, as in a shell
        except EOFError:
            return


async def piped_lines() -> Lines:
    """Lines of stdin as they come. Raises `InvalidArguments` for one that is not UTF-8."""
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    # A daemon, so that leaving does not wait for a line that may never come.
    threading.Thread(
        target=_read_lines, args=(loop, lines.put_nowait), name="stdin", daemon=True
    ).start()
    offset = 0
    while line := await lines.get():
        yield decode(line, f"standard input (line at byte {offset})")
        offset += len(line)


def _read_lines(loop: asyncio.AbstractEventLoop, put: Callable[[bytes], None]) -> None:
    while True:
        line = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        try:
            loop.call_soon_threadsafe(put, line)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the line
        if not line:
            return
