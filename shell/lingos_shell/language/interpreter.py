"""Carries the language out: every front end has one interpreter per session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import LingOSError
from lingos_shell.language.builtin import BUILT_IN, Builtin, Leave, described
from lingos_shell.language.completion import Completion, complete
from lingos_shell.language.conversation import (
    Conversation,
    KeptConversation,
    PassingConversation,
    Settings,
)
from lingos_shell.language.evaluation import Evaluation
from lingos_shell.language.flows import Chunk, Done, Element, Flow
from lingos_shell.language.help import help_page
from lingos_shell.language.host import command_failed, environment
from lingos_shell.language.jobs import JobOutput, Jobs
from lingos_shell.language.loaders import Loaders
from lingos_shell.language.naming import Names
from lingos_shell.language.parser import parse_message, parse_script
from lingos_shell.language.printer import print_pipeline
from lingos_shell.language.redirection import Target
from lingos_shell.language.sink import (
    AnswerEnd,
    AnswerText,
    Failed,
    HostOutput,
    Narration,
    Shown,
    Sink,
)
from lingos_shell.language.stages import Run, stage_flow
from lingos_shell.language.syntax import HostCommand, Pipeline, Save, Script
from lingos_shell.language.values import text_of

RunOnTerminal = Callable[[str, Mapping[str, str]], Awaitable[int]]
"""Runs a host command with the person's terminal as its own; returns its exit code."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    exit_code: int = 0
    value: Any = None
    """Of the last pipeline that was done."""
    error: LingOSError | None = None
    is_leaving: bool = False
    """The person wants to leave the front end."""


class Interpreter:
    """Runs, completes and explains the language in one session.

    One foreground run at a time; cancelling its task ends this run alone, in the kernel too.
    """

    def __init__(
        self,
        client: KernelClient,
        *,
        conversation: Conversation | None = None,
        settings: Settings | None = None,
        loaders: Loaders | None = None,
        words: Mapping[str, Builtin] | None = None,
        run_on_terminal: RunOnTerminal | None = None,
        pid: int | None = None,
    ) -> None:
        """`words` are the front end's own, on top of the built-in ones.

        `pid` is the process that background jobs are children of.
        """
        self.client = client
        self.conversation: Conversation = conversation or KeptConversation()
        self.settings = settings or Settings()
        self.variables: dict[str, Any] = {}
        self.loaders = loaders or Loaders()
        self.words: dict[str, Builtin] = {**BUILT_IN, **(words or {})}
        self.names = Names(client, {n: described(n, word) for n, word in self.words.items()})
        self.jobs = Jobs()
        self.pid = pid
        self._run_on_terminal = run_on_terminal

    async def run(self, text: str, sink: Sink, *, is_script: bool = False) -> Outcome:
        """Run a message, or a script's text. Errors go to the sink; the first one ends the run."""
        value: Any = None
        try:
            script = parse_script(text) if is_script else parse_message(text)
            value = await self.run_tree(script, sink)
        except Leave as leaving:
            return Outcome(leaving.exit_code, is_leaving=True)
        except LingOSError as error:
            await sink.show(Failed(error))
            return Outcome(error.exit_code, error=error)
        return Outcome(value=value)

    async def run_tree(self, script: Script, sink: Sink) -> Any:
        """Run a tree; returns the last value. Raises its `LingOSError`, or `Leave`."""
        value: Any = None
        for pipeline in script.pipelines:
            if pipeline.is_background:
                await self._begin_job(pipeline, sink)
            else:
                run = self._new_run(self.client, sink, self.conversation)
                value = await self._run_pipeline(pipeline, run)
                if value is not None:
                    self.variables["_"] = value
        return value

    async def complete(self, text: str, cursor: int | None = None) -> list[Completion]:
        """What could stand at the cursor. Starts nothing, raises nothing."""
        return await complete(self, text[:cursor])

    async def help(self, name: str = "") -> str:
        """A page of help on a word or syscall, or on the language. Raises `UnknownSyscall`."""
        return await help_page(self.names, name)

    async def close(self) -> None:
        """End the background jobs."""
        await self.jobs.close()

    # Pipelines

    async def _run_pipeline(self, pipeline: Pipeline, run: Run) -> Any:
        target = await self._target(pipeline.save, run.evaluation)
        is_quiet = bool(pipeline.target) or target is not None
        if self._run_on_terminal and not (is_quiet or pipeline.is_background):
            match pipeline.stages:
                case (HostCommand(command),):
                    return await self._on_terminal(command)
        async with AsyncExitStack() as stack:
            flow: Flow | None = None
            for number, stage in enumerate(pipeline.stages):
                source = pipeline.source if number == 0 else None
                flow = stage_flow(run, stage, flow, source)
                await stack.enter_async_context(aclosing(flow))
            assert flow is not None
            is_host = isinstance(pipeline.stages[-1], HostCommand)
            value = await _shown(flow, run.sink, is_quiet=is_quiet, is_host=is_host)
        if target is not None:
            size = await asyncio.to_thread(target.write, value)
            await run.sink.show(Narration(f"wrote {size} bytes to {target.path}"))
        if pipeline.target:
            self.variables[pipeline.target] = value
        return value

    def _new_run(self, client: KernelClient, sink: Sink, conversation: Conversation) -> Run:
        evaluation = Evaluation(self.variables, self.loaders, sink)
        return Run(self, client, sink, conversation, evaluation)

    async def _target(self, save: Save | None, evaluation: Evaluation) -> Target | None:
        if save is None:
            return None
        name = text_of((await evaluation.value(save.file))[0])
        return Target.check(name, is_appending=save.is_appending)

    async def _on_terminal(self, command: str) -> None:
        assert self._run_on_terminal is not None
        if code := await self._run_on_terminal(command, environment(self.variables)):
            raise command_failed(command, code)

    # Background

    async def _begin_job(self, pipeline: Pipeline, sink: Sink) -> None:
        source = print_pipeline(pipeline).removesuffix(" &")
        opened = await self.client.call(
            "proc.open", command=source[:80], kind="job", parent=self.pid, on_parent_end="end"
        )
        output = JobOutput()
        task = asyncio.create_task(self._run_job(pipeline, opened["pid"], output), name=source)
        job = self.jobs.add(source, opened["pid"], task, output)
        await sink.show(Narration(f"[{job.number}] pid {job.pid}  {source}"))

    async def _run_job(self, pipeline: Pipeline, pid: int, output: JobOutput) -> Any:
        """Run a pipeline in a process of its own; its messages are asked on their own."""
        run = self._new_run(self.client.with_options(pid=pid), output, PassingConversation())
        async with self._closing(pid):
            return await self._run_pipeline(pipeline, run)

    @asynccontextmanager
    async def _closing(self, pid: int) -> AsyncIterator[None]:
        """End the process of a job when its work is over."""
        try:
            yield
        finally:
            ending = asyncio.ensure_future(self.client.call("proc.close", pid=pid))
            await asyncio.wait([ending])
            ending.exception()  # it may have been ended already, by a person


async def _shown(flow: Flow, sink: Sink, *, is_quiet: bool, is_host: bool) -> Any:
    """The value of a flow; unless it is quiet, its pieces are shown as they come."""
    has_shown = False
    async for piece in flow:
        match piece:
            case Done(value, source):
                if is_quiet or value is None:
                    return value
                if has_shown:
                    await sink.show(AnswerEnd(value))
                else:
                    await sink.show(Shown(value, source))
                return value
            case _ if is_quiet:
                continue
            case Chunk(text):
                await sink.show(HostOutput(text) if is_host else AnswerText(text))
            case Element(data):
                await sink.show(Shown(data))
        has_shown = True
    raise AssertionError("a flow ends in its value")
