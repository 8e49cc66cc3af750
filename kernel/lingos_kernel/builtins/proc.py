"""`proc.*`: the process table."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import msgspec

from lingos_kernel.builtins.services import Services
from lingos_kernel.processes.process import Limits, Signal
from lingos_kernel.syscalls.spec import Context, syscall


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
            "children": [child.pid for child in self._services.processes.children(pid)],
        }

    @syscall("proc.open", cost="io")
    async def open(
        self,
        context: Context,
        command: str,
        kind: Literal["session", "job", "agent"] = "session",
        priority: int | None = None,
        parent: int | None = None,
    ) -> dict[str, Any]:
        """Open a process that later calls can belong to.

        Args:
            command: what it is, for people.
            kind: session, job or agent.
            priority: -20 (most urgent) to 19; the parent's when not given.
            parent: a live process of the caller; the kernel when not given.
        """
        opened = self._services.processes.open(
            context.principal, command, kind=kind, priority=priority, parent=parent or 1
        )
        return {"pid": opened.pid, "priority": opened.priority}

    @syscall("proc.close", cost="io")
    async def close(self, context: Context, pid: int) -> dict[str, Any]:
        """End a process; its calls are cancelled.

        Args:
            pid: a live process of the caller.
        """
        self._services.processes.owned(pid, context.principal)
        self._services.processes.close(pid)
        return {"closed": pid}

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
        return {"pid": pid, "signal": signal}

    @syscall("proc.nice", cost="io")
    async def nice(self, context: Context, pid: int, priority: int) -> dict[str, Any]:
        """Change the priority of a process, its waiting and its running work.

        Args:
            pid: a live process.
            priority: -20 (most urgent) to 19.
        """
        before = self._services.processes.nice(pid, priority, by=context.principal)
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
        return {"pid": pid, "limits": asdict(limits)}
