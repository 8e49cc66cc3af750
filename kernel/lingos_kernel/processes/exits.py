"""Waiting for the end of processes."""

from __future__ import annotations

import asyncio

from lingos_kernel.errors import CallTimeout
from lingos_kernel.processes.process import Process
from lingos_kernel.processes.table import ProcessTable


class Exits:
    """Wakes who waits for the end of a process; belongs to the kernel's loop."""

    def __init__(self, processes: ProcessTable) -> None:
        self._processes = processes
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        processes.on_end(self._wake)

    async def wait(self, pid: int, *, timeout_s: float | None = None) -> Process:
        """The process, once it has ended; at once when it is among the last that did.

        Raises `UnknownProcess`, or `CallTimeout` when it lives on for longer.
        """
        process = self._processes.find(pid)
        if process.ended_s is None:
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(pid, set()).add(ended)
            try:
                async with asyncio.timeout(timeout_s):
                    await ended
            except TimeoutError:
                raise CallTimeout(
                    f"process {pid} ({process.command}) is still there after {timeout_s:g} s",
                    hint="wait longer, or end it with lingos kill -KILL",
                    pid=pid,
                ) from None
            finally:
                self._forget(pid, ended)
        return process

    def _wake(self, pid: int) -> None:
        for ended in self._waiting.get(pid, ()):
            if not ended.done():
                ended.set_result(None)

    def _forget(self, pid: int, ended: asyncio.Future[None]) -> None:
        waiting = self._waiting[pid]
        waiting.discard(ended)
        if not waiting:
            del self._waiting[pid]
