"""`proc.*`: the process table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.processes.process import Limits, OnParentEnd, Signal
from lingos_kernel.processes.rights import owns
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.spec import Context, syscall
from lingos_kernel.syscalls.trace import Trace, process_of

DAY_S = 86_400.0
TRACE_BOUND = 1024
"""Lines that wait for a slow reader of a trace; then the oldest are dropped, and counted."""


class ProcSyscalls:
    """See processes and act on them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("proc.list", cost="io")
    async def list_all(self) -> list[dict[str, Any]]:
        """List the processes: who runs what, who waits, and what each has used."""
        rows = (await self._services.snapshot()).processes
        return [msgspec.to_builtins(row) for row in rows]

    @syscall("proc.show", cost="io")
    async def show(self, pid: int) -> dict[str, Any]:
        """Show one process with its limits and what it has used.

        Args:
            pid: a live process.
        """
        process = self._services.processes.get(pid)
        rows = (await self._services.snapshot()).processes
        row = next(row for row in rows if row.pid == pid)
        return {
            **msgspec.to_builtins(row),
            "limits": asdict(process.limits),
            "used": asdict(process.used),
            "program": self._services.processes.program(pid),
            "on_parent_end": process.on_parent_end,
            "context": process.context,
            "children": [child.pid for child in self._services.processes.children(pid)],
        }

    @syscall("proc.tree", cost="io")
    async def tree(self) -> list[dict[str, Any]]:
        """List the processes with their depth, parents before their children."""
        rows = {row["pid"]: row for row in await self.list_all()}
        tree = self._services.processes.tree()
        return [{"depth": depth, **rows[p.pid]} for depth, p in tree if p.pid in rows]

    @syscall("proc.open", cost="io")
    async def open(
        self,
        context: Context,
        command: str,
        kind: Literal["session", "job", "agent"] = "session",
        priority: int | None = None,
        parent: int | None = None,
        on_parent_end: OnParentEnd = "reparent",
    ) -> dict[str, Any]:
        """Open a process that later calls can belong to; it lives on when the kernel restarts.

        Args:
            command: what it is, for people.
            kind: session, job or agent.
            priority: -20 (most urgent) to 19; the parent's when not given.
            parent: a live process of the caller; the kernel when not given.
            on_parent_end: reparent moves it up when its parent ends, end ends it too.
        """
        opened = self._services.processes.open(
            context.principal,
            command,
            kind=kind,
            priority=priority,
            parent=parent or 1,
            on_parent_end=on_parent_end,
            is_durable=True,
        )
        await self._services.sessions.flush()
        return {"pid": opened.pid, "priority": opened.priority}

    @syscall("proc.close", cost="io")
    async def close(self, context: Context, pid: int) -> dict[str, Any]:
        """End a process; its calls are cancelled.

        Args:
            pid: a live process of the caller.
        """
        self._services.processes.owned(pid, context.principal)
        self._services.processes.close(pid)
        await self._services.sessions.flush()
        return {"closed": pid}

    @syscall("proc.wait", cost="io", timeout_s=DAY_S)
    async def wait(
        self,
        context: Context,
        pid: int,
        timeout_s: Annotated[float | None, Field(ge=0)] = None,
    ) -> dict[str, Any]:
        """Wait until a process has ended, and say why it did.

        Args:
            pid: a live process, or one of the last that ended.
            timeout_s: seconds to wait at most.
        """
        if pid == context.pid:
            raise InvalidArguments(
                f"process {pid} waits for its own end", hint="wait from another process"
            )
        ended = await self._services.exits.wait(pid, timeout_s=timeout_s)
        return {
            "pid": pid,
            "command": ended.command,
            "ended_why": ended.ended_why,
            "used": asdict(ended.used),
        }

    @syscall("proc.trace", cost="io", timeout_s=DAY_S)
    async def trace(
        self,
        context: Context,
        pid: int,
        follow: bool = False,
        limit: Annotated[int | None, Field(ge=1, description="end after so many lines")] = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Stream the calls of a process as they begin and end, until it ends.

        Begin lines show the arguments' names, to the process's owner with their values; end lines
        the outcome, the size of the result and the times. A reader who is too slow is told how
        many lines were dropped.

        Args:
            pid: a live process of the caller.
            follow: its descendants too.
        """
        processes = self._services.processes
        process = processes.owned(pid, context.principal)

        def is_traced(call: Call) -> bool:
            theirs = process_of(call)
            if call.call_id == context.call_id:
                return False
            return theirs == pid or (follow and processes.is_below(theirs, pid))

        trace = Trace(is_traced, shows_values=owns(context.principal, process), bound=TRACE_BOUND)
        ending = asyncio.create_task(self._services.exits.wait(pid))
        ending.add_done_callback(lambda _: trace.close())
        count = 0
        try:
            with self._services.dispatcher.books.watched(trace):
                async with aclosing(trace.lines()) as lines:
                    async for line in lines:
                        yield line
                        count += 1
                        if count == limit:
                            return
        finally:
            ending.cancel()

    @syscall("proc.kill", cost="io")
    async def kill(
        self, context: Context, pid: int, signal: Literal["TERM", "KILL", "STOP", "CONT"] = "TERM"
    ) -> dict[str, Any]:
        """Send a signal to a process.

        TERM cancels its calls, KILL also ends it, STOP holds it at the next token, CONT lets it
        go on.

        Args:
            pid: a live process.
            signal: TERM, KILL, STOP or CONT.
        """
        self._services.processes.signal(pid, Signal[signal], by=context.principal)
        await self._services.sessions.flush()
        return {"pid": pid, "signal": signal}

    @syscall("proc.nice", cost="io")
    async def nice(self, context: Context, pid: int, priority: int) -> dict[str, Any]:
        """Change the priority of a process, its waiting and its running work.

        Args:
            pid: a live process.
            priority: -20 (most urgent) to 19.
        """
        before = self._services.processes.nice(pid, priority, by=context.principal)
        await self._services.sessions.flush()
        return {"pid": pid, "priority": priority, "before": before}

    @syscall("proc.limit", cost="io")
    async def limit(
        self,
        context: Context,
        pid: int,
        tokens: int | None = None,
        seconds: float | None = None,
        tool_calls: int | None = None,
        pages: int | None = None,
    ) -> dict[str, Any]:
        """Set what a process may use; a limit that is not given is lifted.

        Args:
            pid: a live process.
            tokens: prompt and output tokens.
            seconds: seconds of its calls, added up.
            tool_calls: calls that the model makes.
            pages: KV pages held at one time.
        """
        limits = Limits(tokens, seconds, tool_calls, pages)
        self._services.processes.limit(pid, limits, by=context.principal)
        await self._services.sessions.flush()
        return {"pid": pid, "limits": asdict(limits)}
