"""Named locks for pool threads (blocking) and for the event loop (awaitable), on one table."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext

from lingos_kernel.errors import CallTimeout
from lingos_kernel.queue.waiting import wait as wait_for
from lingos_kernel.queue.waiting import wait_async
from lingos_kernel.threads.lock_table import Decision, LockKind, LockTable
from lingos_kernel.threads.rows import LockState
from lingos_kernel.threads.waitfor import Holder

Blocked = Callable[[str], AbstractContextManager[None]]


def _unnoticed(_waiting_on: str) -> AbstractContextManager[None]:
    return nullcontext()


class Locks:
    """Mutexes, rwlocks, semaphores and barriers by name; thread-safe.

    A holder is a pid and a task within it: a process that runs calls in parallel gives each its own
    `task`. `blocked` (the pool's) is entered while a thread waits. See `lock_table` for order of
    service and re-entry, `waitfor` for deadlocks.
    """

    def __init__(self, blocked: Blocked = _unnoticed) -> None:
        self._table = LockTable()
        self._mutex = threading.Lock()
        self._blocked = blocked
        self._waits: dict[int, Future[None]] = {}

    def create(self, name: str, kind: LockKind, *, units: int = 1, owner: int = 0) -> None:
        """Make a lock, or be one more owner of it; once unused it vanishes after its last owner.

        `units`: a semaphore's units or a barrier's parties. Raises InvalidArguments.
        """
        with self._mutex:
            self._table.create(name, kind, units=units, owner=owner)

    def remove(self, name: str) -> None:
        """Take away an unused lock. Raises UnknownLock, Busy."""
        with self._mutex:
            self._table.remove(name)

    def acquire(
        self,
        name: str,
        pid: int,
        *,
        task: str = "",
        shared: bool = False,
        units: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        """Take the lock, or arrive at the barrier; blocks the thread until granted.

        Raises CallTimeout after `timeout_s` (0: without any wait), Deadlock, Cancelled when the
        process ends meanwhile, UnknownLock, InvalidArguments.
        """
        holder = Holder(pid, task)
        wait_id, wait = self._begin(name, holder, shared, units)
        if not wait.done():
            try:
                with self._blocked(f"lock:{name}"):
                    if not wait_for(wait, timeout_s):
                        self._give_up(wait_id, wait, name, pid, timeout_s)
            except BaseException:
                self._leave(wait_id, wait, name, holder, shared, units)
                raise
        wait.result()

    async def acquire_async(
        self,
        name: str,
        pid: int,
        *,
        task: str = "",
        shared: bool = False,
        units: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        """As `acquire`, awaiting. A cancelled await leaves nothing held."""
        holder = Holder(pid, task)
        wait_id, wait = self._begin(name, holder, shared, units)
        if not wait.done():
            try:
                if not await wait_async(wait, timeout_s):
                    self._give_up(wait_id, wait, name, pid, timeout_s)
            except BaseException:
                self._leave(wait_id, wait, name, holder, shared, units)
                raise
        wait.result()

    def release(self, name: str, pid: int, *, task: str = "", units: int | None = None) -> None:
        """Give back what one acquire took, or `units`. Raises UnknownLock, NotPermitted."""
        with self._mutex:
            self._settle(self._table.release(name, Holder(pid, task), units=units))

    def release_all(self, pid: int) -> None:
        """The process is gone: its waits end in Cancelled, its holds pass to the next waiters."""
        with self._mutex:
            self._settle(self._table.release_all(pid))

    @contextmanager
    def hold(
        self,
        name: str,
        pid: int,
        *,
        task: str = "",
        shared: bool = False,
        units: int = 1,
        timeout_s: float | None = None,
    ) -> Iterator[None]:
        """Acquire, and release at the end of the block."""
        self.acquire(name, pid, task=task, shared=shared, units=units, timeout_s=timeout_s)
        try:
            yield
        finally:
            self._undo(name, Holder(pid, task), shared, units)

    @asynccontextmanager
    async def hold_async(
        self,
        name: str,
        pid: int,
        *,
        task: str = "",
        shared: bool = False,
        units: int = 1,
        timeout_s: float | None = None,
    ) -> AsyncIterator[None]:
        """As `hold`, awaiting."""
        await self.acquire_async(
            name, pid, task=task, shared=shared, units=units, timeout_s=timeout_s
        )
        try:
            yield
        finally:
            self._undo(name, Holder(pid, task), shared, units)

    def rows(self) -> tuple[LockState, ...]:
        """Every lock, by name."""
        with self._mutex:
            return self._table.rows()

    def check_integrity(self) -> None:
        """Raise AssertionError unless the books balance."""
        with self._mutex:
            self._table.check_integrity()
            assert all(not wait.done() for wait in self._waits.values()), "a settled wait is kept"

    def _begin(
        self, name: str, holder: Holder, shared: bool, units: int
    ) -> tuple[int, Future[None]]:
        wait: Future[None] = Future()
        with self._mutex:
            wait_id, decisions = self._table.request(name, holder, shared=shared, units=units)
            self._waits[wait_id] = wait
            self._settle(decisions)
        return wait_id, wait

    def _settle(self, decisions: Iterable[Decision]) -> None:
        """Tell the waiters. The caller holds the mutex, so a wait is settled exactly once."""
        for wait_id, error in decisions:
            wait = self._waits.pop(wait_id)
            if error is None:
                wait.set_result(None)
            else:
                wait.set_exception(error)

    def _end(self, wait_id: int) -> bool:
        """Stop waiting; False when the wait was settled before."""
        with self._mutex:
            ended, decisions = self._table.give_up(wait_id)
            if ended:
                del self._waits[wait_id]
            self._settle(decisions)
            return ended

    def _give_up(
        self, wait_id: int, wait: Future[None], name: str, pid: int, timeout_s: float | None
    ) -> None:
        """The time is over: fail the wait, unless it was settled in the last moment."""
        with self._mutex:
            what = self._table.explain(name) if wait_id in self._waits else name
        if self._end(wait_id):
            wait.set_exception(
                CallTimeout(
                    f"pid {pid} waited {timeout_s:g} s for {what}",
                    hint="try again, or give more time",
                )
            )

    def _leave(
        self,
        wait_id: int,
        wait: Future[None],
        name: str,
        holder: Holder,
        shared: bool,
        units: int,
    ) -> None:
        """The waiter is gone: end its wait, and give back what came in the last moment."""
        if not self._end(wait_id) and wait.exception() is None:
            self._undo(name, holder, shared, units)

    def _undo(self, name: str, holder: Holder, shared: bool, units: int) -> None:
        """Give back what was granted, unless it was given back when the process ended."""
        with self._mutex:
            self._settle(self._table.undo(name, holder, shared=shared, units=units))
