"""The session that a notebook's cells speak in; what runs of several shells share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import InvalidArguments
from lingos_shell.jupyter.answers import Answers
from lingos_shell.jupyter.chat_options import parse_chat_options
from lingos_shell.jupyter.question import Question
from lingos_shell.jupyter.words import notebook_words
from lingos_shell.language.builtin import Leave, Request
from lingos_shell.language.conversation import KeptConversation, Settings
from lingos_shell.language.interpreter import Interpreter
from lingos_shell.language.parser import parse_message, parse_script
from lingos_shell.language.reading import Reader
from lingos_shell.language.running_text import WHOLE_MESSAGE, read_running_text
from lingos_shell.language.sink import ShellEvent
from lingos_shell.language.syntax import Pipeline, Script, Talk

if TYPE_CHECKING:
    from lingos_shell.jupyter.bridge import Bridge
    from lingos_shell.language.completion import Completion

OnEvent = Callable[["ShellEvent | Question"], None]


class CellSink:
    """Hands events to the cell's thread, and asks there."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    async def show(self, event: ShellEvent) -> None:
        """Pass the event on."""
        self._on_event(event)

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask in the cell; no, where there is nobody to ask."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bool] = loop.create_future()

        def answer(is_yes: bool) -> None:
            loop.call_soon_threadsafe(_settle, answered, is_yes)

        self._on_event(Question(name, arguments, answer))
        return await answered


class NotebookSession:
    """Conversation, settings and variables of a notebook."""

    def __init__(self, bridge: Bridge, *, streams: bool = True) -> None:
        self.streams = streams
        """Whether answers are shown as they come."""
        self.answers = Answers()
        self._bridge = bridge
        self._main: Interpreter | None = None

    async def run(
        self,
        text: str,
        variables: Mapping[str, Any],
        on_event: OnEvent,
        *,
        is_script: bool,
        options: str = "",
    ) -> Any:
        """Run a text of the language; its value. Raises its `LingOSError`.

        `options` are settings for this run alone, as `parse_chat_options` reads them.

        Runs of several shells go on beside each other: each has its own variables on top of the
        session's.
        """
        main = await self._interpreter()
        conversation = main.conversation
        run = Interpreter(
            main.client,
            conversation=conversation,
            settings=replace(main.settings, options={**main.settings.options})
            if options
            else main.settings,
            loaders=main.loaders,
            words=main.words,
            pid=main.pid,
        )
        run.names, run.jobs = main.names, main.jobs
        run.variables = {**main.variables, **variables}
        script = parse_script(text) if is_script else talk_script(text)
        for name, given in parse_chat_options(options):
            await _set(run, name, given)
        try:
            value = await run.run_tree(script, CellSink(on_event))
        except Leave:
            raise InvalidArguments(
                "a notebook is left by its own menu", hint="File, Close and Shut Down Notebook"
            ) from None
        if run.conversation is not conversation:  # another session was opened
            main.conversation = run.conversation
        main.variables.update(
            {name: value for name, value in run.variables.items() if name not in variables}
        )
        return value

    async def complete(self, text: str) -> list[Completion]:
        """What could stand at the end of the text."""
        return await (await self._interpreter()).complete(text)

    async def help(self, name: str) -> str:
        """A page of help. Raises `UnknownSyscall`."""
        return await (await self._interpreter()).help(name)

    async def close(self) -> None:
        """End the background jobs."""
        if self._main is not None:
            await self._main.close()

    async def _interpreter(self) -> Interpreter:
        """The session's own interpreter, with a client that is connected."""
        client = await self._bridge.client()
        if self._main is None or self._main.client is not client:
            old = self._main
            self._main = Interpreter(
                client,
                conversation=old.conversation if old else KeptConversation(),
                settings=old.settings if old else Settings(),
                words=notebook_words(self),
                pid=self._bridge.pid,
            )
            self._main.variables = old.variables if old else {}
        return self._main


async def _set(run: Interpreter, name: str, value: str) -> None:
    """Change one setting of a run, silently. Raises `InvalidArguments`, `UnknownModel`."""
    is_model = name == "model"
    word, arguments = (
        ("model", {"name": value}) if is_model else ("set", {"name": name, "value": value})
    )
    await run.words[word].run(Request(run, arguments, CellSink(lambda _: None)))


def talk_script(text: str) -> Script:
    """The tree of a message: text whatever it begins with, but for a pipe on its last line.

    Raises `InvalidScript`.
    """
    reader = Reader(text)
    word = read_running_text(reader, WHOLE_MESSAGE)
    if reader.peek():
        return parse_message(text)
    return Script((Pipeline((Talk(word),)),))


def _settle(answered: asyncio.Future[bool], is_yes: bool) -> None:
    if not answered.done():  # the run may have been stopped meanwhile
        answered.set_result(is_yes)
