"""Processes that outlive the kernel: written down as they change, there again after a restart.

Kept are the processes that `proc.open` made, and every session or agent that is stopped. They keep
their pids, so that parents, children and clients that name one still mean it; new pids come after
all that were given out before. What they hold in memory (calls, locks, mailboxes) is gone with the
kernel; their contexts are not. Processes that belong to a connection end with it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from lingos_kernel.errors import LingOSError
from lingos_kernel.processes.process import Limits, OnParentEnd, Process, ProcessKind, Used
from lingos_kernel.processes.table import KERNEL_PID, ProcessTable
from lingos_kernel.queue.clock import Clock, SteadyClock
from lingos_kernel.queue.sqlite_writer import SqliteWriter
from lingos_kernel.security.principal import Principal

log = logging.getLogger(__name__)

FLUSH_S = 1.0
"""How old what was used may be on disk."""
VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS processes (pid INTEGER PRIMARY KEY, facts BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
SAVE = "INSERT OR REPLACE INTO processes (pid, facts) VALUES (?, ?)"
FORGET = "DELETE FROM processes WHERE pid = ?"
LOAD = "SELECT pid, facts FROM processes ORDER BY pid"
SAVE_LAST_PID = "INSERT OR REPLACE INTO meta (key, value) VALUES ('last_pid', ?)"
LOAD_LAST_PID = "SELECT value FROM meta WHERE key = 'last_pid'"


class Facts(msgspec.Struct, frozen=True):
    """What is written down of a process."""

    parent: int
    principal: Principal
    kind: ProcessKind
    command: str
    model: str
    priority: int
    limits: Limits
    created_s: float
    """Unix time."""
    used: Used
    on_parent_end: OnParentEnd
    is_durable: bool
    context: str
    stopped: bool


class Sessions:
    """Writes down the processes of a table that are to be kept: when told to, and every second."""

    def __init__(
        self,
        path: Path,
        processes: ProcessTable,
        *,
        clock: Callable[[], float],
        wall: Clock | None = None,
    ) -> None:
        """Open or make the file. `clock` is the table's, `wall` gives Unix time."""
        self._processes = processes
        self._offset_s = (wall or SteadyClock())() - clock()
        self._writer = SqliteWriter(path, SCHEMA, VERSION, what="file of processes")
        self._saved: dict[int, bytes] = {}
        self._saved_last_pid = 0
        self._flushing = asyncio.Lock()
        self._main: asyncio.Task[None] | None = None

    async def restore(self) -> int:
        """Put the processes of an earlier kernel into the table, and keep it from now on.

        Returns how many. Before the table has any of its own.
        """
        self._saved, self._saved_last_pid = await self._writer.run(_load)
        read = [self._process(pid, facts) for pid, facts in self._saved.items()]
        found = [process for process in read if process is not None]
        self._processes.restore(found, last_pid=self._saved_last_pid)
        self._main = asyncio.create_task(self._run(), name="sessions")
        return len(found)

    async def flush(self) -> None:
        """Write down what has changed; once it returns it survives `kill -9`.

        No effect in a kernel that has not restored: another one keeps the processes.
        """
        if self._main is None:
            return
        async with self._flushing:
            kept = {
                process.pid: _encode(self._facts(process))
                for process in self._processes.processes()
                if _is_kept(process)
            }
            changed = {pid: facts for pid, facts in kept.items() if self._saved.get(pid) != facts}
            gone = [pid for pid in self._saved if pid not in kept]
            last_pid = self._processes.last_pid
            if not changed and not gone and last_pid == self._saved_last_pid:
                return

            def save(connection: sqlite3.Connection) -> None:
                connection.executemany(SAVE, changed.items())
                connection.executemany(FORGET, [(pid,) for pid in gone])
                connection.execute(SAVE_LAST_PID, (last_pid,))

            await self._writer.run(save)
            self._saved, self._saved_last_pid = kept, last_pid

    async def close(self) -> None:
        """Write down the last state and close the file; safe to call twice."""
        if self._main is not None:
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
            await self._try_flush()
            self._main = None
        await self._writer.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except LingOSError as error:  # the next flush writes all that is missing
            log.error("the processes could not be written down: %s", error)

    def _facts(self, process: Process) -> Facts:
        used = process.used
        return Facts(
            parent=process.parent,
            principal=process.principal,
            kind=process.kind,
            command=process.command,
            model=process.model,
            priority=process.priority,
            limits=process.limits,
            created_s=process.created_s + self._offset_s,
            used=Used(used.tokens, used.seconds, used.tool_calls),
            on_parent_end=process.on_parent_end,
            is_durable=process.is_durable,
            context=process.context,
            stopped=process.stopped,
        )

    def _process(self, pid: int, data: bytes) -> Process | None:
        try:
            facts = _decode(data)
        except msgspec.MsgspecError as error:  # the others are to come back all the same
            log.error("process %d cannot be read: %s", pid, error)
            return None
        return Process(
            pid=pid,
            parent=facts.parent,
            principal=facts.principal,
            kind=facts.kind,
            command=facts.command,
            model=facts.model,
            priority=facts.priority,
            limits=facts.limits,
            created_s=facts.created_s - self._offset_s,
            used=facts.used,
            on_parent_end=facts.on_parent_end,
            is_durable=facts.is_durable,
            context=facts.context,
            stopped=facts.stopped,
        )


def _is_kept(process: Process) -> bool:
    if process.pid == KERNEL_PID:
        return False
    is_suspended = process.stopped and process.kind in ("session", "agent")
    return process.is_durable or is_suspended


def _load(connection: sqlite3.Connection) -> tuple[dict[int, bytes], int]:
    rows = connection.execute(LOAD).fetchall()
    last = connection.execute(LOAD_LAST_PID).fetchone()
    return dict(rows), last[0] if last else 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Facts).decode
