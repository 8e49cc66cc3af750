"""One sitting at the line REPL: read, run, show, until the person leaves."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager

from lingos_kernel.errors import LingOSError
from lingos_shell.failures import ending_of, report
from lingos_shell.inputs import require_unicode
from lingos_shell.language.builtin import Builtin, Request
from lingos_shell.language.interpreter import Interpreter, Outcome
from lingos_shell.language.jobs import Job
from lingos_shell.language.parser import needs_more
from lingos_shell.output import OutputClosed, narrate, write
from lingos_shell.repl.late_client import LateClient
from lingos_shell.repl.plain_sink import PlainSink
from lingos_shell.repl.prompt import PROMPT, Prompt
from lingos_shell.repl.terminal_sink import TerminalSink
from lingos_shell.repl.toolbar import Watch, kernel_text

STATUS_S = 0.5


class Repl:
    """The REPL on a terminal."""

    def __init__(
        self,
        shell: Interpreter,
        client: LateClient,
        make_prompt: Callable[[Callable[[], str]], Prompt],
        *,
        default_model: str,
        has_colour: bool,
    ) -> None:
        self._shell = shell
        self._client = client
        self._default_model = default_model
        self._prompt = make_prompt(self._toolbar)
        self._sink = TerminalSink(self._ask, has_colour=has_colour)
        self._watch = Watch(client, self._prompt.redraw)
        self._notices: list[str] = []
        self._running: asyncio.Task[Outcome] | None = None
        shell.jobs.on_end = self._job_ended

    async def hold(self) -> int:
        """Take turns until the person leaves; returns the exit code."""
        watching: asyncio.Task[None] | None = None

        def begin() -> None:
            nonlocal watching
            self._client.start()
            watching = watching or asyncio.create_task(self._watch.run(), name="watch")

        try:
            with interrupts(self._interrupted):
                return await self._take_turns(begin)
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await self._shell.close()

    async def _take_turns(self, begin: Callable[[], None]) -> int:
        from prompt_toolkit.patch_stdout import patch_stdout

        while True:
            self._tell_notices()
            try:
                with patch_stdout(raw=True):
                    text = await self._prompt.read(pre_run=begin)
            except EOFError:
                return 0
            if not text.strip():
                continue
            outcome = await self._turn(text)
            if outcome is not None and outcome.is_leaving:
                return outcome.exit_code

    def _interrupted(self) -> None:
        """Ctrl-C stops what runs, and between two runs nothing."""
        if self._running is not None:
            self._running.cancel()

    async def _turn(self, text: str) -> Outcome | None:
        """Run one message; Ctrl-C ends it. None when it was ended so."""
        self._running = running = asyncio.create_task(self._run(text), name="run")
        await asyncio.wait([running])
        self._running = None
        if running.cancelled():
            self._sink.end_line()
            narrate("stopped")
            return None
        error = running.exception()
        if error is not None and not isinstance(error, OutputClosed):
            report(
                ending_of(error), as_json=False, cause=error
            )  # a fault of ours ends the turn only
            return None
        return running.result()

    async def _run(self, text: str) -> Outcome:
        with self._sink.running():
            drawing = asyncio.create_task(self._draw_status(), name="status")
            try:
                return await self._shell.run(require_unicode(text, "the message"), self._sink)
            except LingOSError as error:
                return Outcome(error.exit_code, error=error)
            finally:
                drawing.cancel()
                await asyncio.gather(drawing, return_exceptions=True)

    async def _draw_status(self) -> None:
        while True:
            self._sink.update_status(self._toolbar())
            await asyncio.sleep(STATUS_S)

    def _toolbar(self) -> str:
        snapshot = self._watch.snapshot
        model = self._shell.settings.model or self._default_model
        text = kernel_text(snapshot, model) if snapshot else f"{model}  {self._watch.problem}"
        parts = [text]
        if name := self._shell.conversation.name:
            parts.append(name)
        if running := sum(job.state == "running" for job in self._shell.jobs.all()):
            parts.append(f"{running} in background")
        return "  ".join(parts)

    async def _ask(self, question: str) -> bool:
        from prompt_toolkit import PromptSession

        asking: PromptSession[str] = PromptSession()
        try:
            answer = await asking.prompt_async(f"{question} [y/N] ")
        except (EOFError, KeyboardInterrupt):
            return False
        return answer.strip().lower() in ("y", "yes")

    # Background jobs

    def _job_ended(self, job: Job) -> None:
        why = ""
        if job.state == "failed":
            why = f": {getattr(job.task.exception(), 'message', job.task.exception())}"
        self._notices.append(f"[{job.number}] {job.state}  {job.source}{why}")
        if self._prompt.session.app.is_running:
            self._tell_notices()

    def _tell_notices(self) -> None:
        for notice in self._notices:
            write(f"{notice}\n")
        self._notices.clear()


@contextmanager
def interrupts(handle: Callable[[], object]) -> Iterator[None]:
    """Within the block Ctrl-C calls `handle` in the event loop, and does nothing else."""
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda _signal, _frame: loop.call_soon_threadsafe(handle))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def run_on_terminal(command: str, environ: Mapping[str, str]) -> int:
    """Run a host command with the terminal as its own; Ctrl-C is the command's."""
    from lingos_shell.language.host import shell

    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = await asyncio.create_subprocess_exec(
            *(shell(), "-c", command), env=environ, preexec_fn=_default_interrupt
        )
        return await process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def _top(_request: Request) -> None:
    """The scheduler on the whole screen, in a process of its own."""
    await run_on_terminal(f"{shlex.quote(sys.executable)} -m lingos_shell top", os.environ)


TERMINAL_WORDS: Mapping[str, Builtin] = {"top": Builtin(_top)}
"""Words that need the whole terminal."""


async def hold_plainly(
    shell: Interpreter, lines: AsyncGenerator[str, None], sink: PlainSink, *, is_interactive: bool
) -> int:
    """The REPL without a screen: each line, with those that it needs, is one message.

    Returns the exit code of the last one; an error ends the message only. Ctrl-C ends what runs
    when somebody types, else everything.
    """
    code = 0
    if is_interactive:
        write(PROMPT)
    async with aclosing(messages(lines)) as typed:
        async for text in typed:
            running = asyncio.ensure_future(shell.run(text, sink))
            outcome = await _finished(running, is_interactive=is_interactive)
            sink.finish()
            code = outcome.exit_code
            if outcome.is_leaving:
                break
            if is_interactive:
                write(PROMPT)
    await shell.close()
    return code


async def _finished(running: asyncio.Future[Outcome], *, is_interactive: bool) -> Outcome:
    if not is_interactive:
        return await running
    with interrupts(running.cancel):
        await asyncio.wait([running])
    if running.cancelled():
        narrate("stopped")
        return Outcome(130)
    return running.result()


async def messages(lines: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """Lines put together where a block or a joined line is open."""
    held = ""
    async for line in lines:
        held += line
        if needs_more(held.rstrip("\n")):
            continue
        if held.strip():
            yield held.rstrip("\n")
        held = ""
    if held.strip():
        yield held.rstrip("\n")


def is_dumb() -> bool:
    """Whether the terminal can only take lines."""
    return os.environ.get("TERM", "dumb") in ("dumb", "unknown", "") or not (
        sys.stdin.isatty() and sys.stdout.isatty()
    )
