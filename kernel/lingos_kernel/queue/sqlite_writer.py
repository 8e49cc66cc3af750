"""One thread that owns a SQLite connection and groups what many callers ask into transactions."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from lingos_kernel.errors import Busy, Cancelled, DiskFull, LingOSError

T = TypeVar("T")

Durability = Literal["process", "power"]
"""What a committed transaction survives. process: `kill -9` of the process (synchronous=NORMAL; a
power cut may undo the last commits, never damage the file). power: a power cut too
(synchronous=FULL, one fsync per group of operations)."""

GROUP = 512
"""Most operations in one transaction."""

Operation = Callable[[sqlite3.Connection], T]


class _Asked:
    """An operation, and the future of its caller."""

    __slots__ = ("error", "future", "loop", "operation", "result")

    def __init__(
        self,
        operation: Operation[Any],
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
    ) -> None:
        self.operation = operation
        self.loop = loop
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


class SqliteWriter:
    """Runs operations one after another, each wholly or not at all; the event loop never blocks.

    Operations that are waiting together share one transaction. An operation that raises a
    LingOSError must have written nothing. A result is given after its transaction is committed.
    """

    def __init__(
        self,
        path: Path,
        schema: str,
        version: int,
        *,
        durability: Durability = "process",
        on_rollback: Callable[[], None] = lambda: None,
        what: str = "job store",
    ) -> None:
        """Open or make the file; errors call it `what`. Raises LingOSError when it is unusable."""
        self._what = what
        self._path = path
        self._on_rollback = on_rollback
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._closed = False
        self._connection = self._open(schema, version, durability)
        self._thread = threading.Thread(target=self._work, name=f"sqlite:{path.name}", daemon=True)
        self._thread.start()

    async def run(self, operation: Operation[T], *, undo: Operation[Any] | None = None) -> T:
        """The operation's result, once committed. If the await is cancelled, `undo` runs after it.

        Raises what the operation raised, Busy when another process holds the file for long,
        DiskFull, LingOSError for other failures of the file, Cancelled after `close`.
        """
        if self._closed:
            raise Cancelled(f"the {self._what} {self._path} is closed")
        loop = asyncio.get_running_loop()
        asked = _Asked(operation, loop, loop.create_future())
        self._asked.put(asked)
        try:
            result: T = await asked.future
        except asyncio.CancelledError:
            if undo is not None and not self._closed:  # the thread goes in order: after it
                self._asked.put(_Asked(undo, loop, loop.create_future()))
            raise
        return result

    async def close(self) -> None:
        """Finish what was asked before, then close the file."""
        if not self._closed:
            self._closed = True
            self._asked.put(None)
        await asyncio.to_thread(self._thread.join)

    def _open(self, schema: str, version: int, durability: Durability) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # What is in it is its owner's alone; SQLite's files beside it take its mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(
                self._path, timeout=10.0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            level = "FULL" if durability == "power" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found not in (0, version):
                raise LingOSError(
                    f"{self._path} was written by another version ({found}, not {version})",
                    hint="move it away, or use the LingOS that wrote it",
                )
            connection.executescript(f"BEGIN IMMEDIATE; {schema}; COMMIT;")
            connection.execute(f"PRAGMA user_version = {version}")
        except (sqlite3.Error, LingOSError) as error:
            connection.close()
            raise self._failure(error) from error.__cause__
        return connection

    def _work(self) -> None:
        """The life of the thread: take what waits, do it in one transaction, tell the callers."""
        while group := self._next_group():
            self._transact(group)
            _tell(group)
        self._connection.close()

    def _next_group(self) -> list[_Asked]:
        """What waits now, at least one; [] after `close`, when nothing is left."""
        group: list[_Asked] = []
        try:
            while len(group) < GROUP:
                asked = self._asked.get(block=not group)
                if asked is None:
                    self._asked.put(None)  # for the next look: first finish this group
                    break
                group.append(asked)
        except queue.Empty:
            pass
        return group

    def _transact(self, group: list[_Asked]) -> None:
        """Do the group in one transaction; when that fails each alone, so that one spoils none."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for asked in group:
                self._operate(asked)
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  the callers get it
            self._roll_back()
            if len(group) == 1:
                group[0].error = self._failure(error)
                return
            for asked in group:
                asked.error = None
                self._transact([asked])

    def _operate(self, asked: _Asked) -> None:
        try:
            asked.result = asked.operation(self._connection)
        except LingOSError as error:
            asked.error = error

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._on_rollback()

    def _failure(self, error: Exception) -> Exception:
        """The error as LingOS tells it; a fault in an operation stays what it is."""
        if not isinstance(error, sqlite3.Error | OSError):
            return error
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"no room for the {self._what} {self._path}", hint="free some space")
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy(f"another process holds the {self._what} {self._path}", hint="try again")
        return LingOSError(
            f"the {self._what} {self._path} failed: {error}",
            hint="check the folder's permissions; if the file is damaged, move it away",
        )


def _tell(group: list[_Asked]) -> None:
    """Settle the callers' futures, with one call into each of their loops."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Asked]] = {}
    for asked in group:
        by_loop.setdefault(asked.loop, []).append(asked)
    for loop, theirs in by_loop.items():
        if not loop.is_closed():  # else nobody is left who waits
            loop.call_soon_threadsafe(_settle, theirs)


def _settle(group: list[_Asked]) -> None:
    for asked in group:
        if asked.future.done():  # cancelled
            continue
        if asked.error is None:
            asked.future.set_result(asked.result)
        else:
            asked.future.set_exception(asked.error)
