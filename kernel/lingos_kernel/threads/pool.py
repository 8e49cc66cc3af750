"""The elastic pool of threads that runs syscalls.

Work is ordered by priority (lower is more urgent, -20 to 19), then arrival. An idle thread is
handed its task directly. When none is idle, the pool hires while fewer threads run than the sum of
`sizing` wants. A thread that says it is `blocked` (on a lock, on a nested call) does not count as
running, so its place is filled. Threads in excess end after `idle_s` without work.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from lingos_kernel.errors import Busy, KernelUnavailable
from lingos_kernel.threads.rows import ThreadState
from lingos_kernel.threads.sizing import TaskTimes, ThreadSums
from lingos_kernel.threads.worker import Task, Worker

T = TypeVar("T")

CHECK_S = 0.01
"""While work waits, the sum is taken again this often: tasks may last longer than expected."""


class ElasticPool:
    """Runs functions on between `minimum` and `maximum` daemon threads.

    `maximum` bounds the threads, with two exceptions without which the pool could stop for ever:
    abandoned threads no longer count (their calls have ended), and while every thread is blocked
    and work waits, one more thread is hired, since that work may be what the others wait for.
    """

    def __init__(
        self,
        minimum: int = 2,
        maximum: int = 64,
        clock: Callable[[], float] = time.monotonic,
        *,
        idle_s: float = 10.0,
        window_s: float = 30.0,
        name: str = "syscall",
    ) -> None:
        """No thread starts before the first task; `clock` gives seconds and never goes back."""
        if not 1 <= minimum <= maximum:
            raise ValueError(f"need 1 <= minimum <= maximum, got {minimum} and {maximum}")
        self.minimum = minimum
        self.maximum = maximum
        self._clock = clock
        self._idle_s = idle_s
        self._name = name
        self._numbers = itertools.count(1)
        self._arrivals = itertools.count()
        self._lock = threading.Lock()
        self._times = TaskTimes(window_s)
        self._waiting: list[tuple[int, int, Task]] = []
        self._waiting_s = 0.0
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._abandoned: set[Worker] = set()
        self._abandoned_total = 0
        self._blocked = 0
        self._closed = False
        self._current = threading.local()
        self._work_waits = threading.Event()
        self._steward: threading.Thread | None = None

    def submit(
        self,
        function: Callable[[], T],
        /,
        *,
        syscall: str = "",
        pid: int = 0,
        priority: int = 0,
        on_start: Callable[[], None] | None = None,
    ) -> Future[T]:
        """A future of `function()`, run on a pool thread as soon as its turn comes.

        `on_start` runs on that thread just before. Cancelling the future takes the task out while
        it waits. Raises KernelUnavailable after `shutdown`, Busy when no thread can be started.
        """
        task = Task(function, syscall, pid, priority, on_start)
        with self._lock:
            if self._closed:
                raise KernelUnavailable("the thread pool is shut down", hint="start the kernel")
            task.queued_at = self._clock()
            if self._idle:
                worker = self._idle.pop()
                worker.task = task
                worker.wake.release()
                return task.future
            self._enqueue(task)
            hired = self._hire(limit=1)
        self._start(hired)
        return task.future

    @contextmanager
    def blocked(self, waiting_on: str) -> Iterator[None]:
        """While this pool thread waits on something; its place is filled. Elsewhere: no effect."""
        worker: Worker | None = getattr(self._current, "worker", None)
        if worker is None:
            yield
            return
        with self._lock:
            before, worker.waiting_on = worker.waiting_on, waiting_on
            if not before and not worker.abandoned:
                self._blocked += 1
            hired = self._hire(limit=1)
        self._start(hired)
        try:
            yield
        finally:
            with self._lock:
                worker.waiting_on = before
                if not before and not worker.abandoned:
                    self._blocked -= 1

    def abandon(self, future: Future[T]) -> bool:
        """Stop counting on the thread that runs this future: its call has ended without it.

        The thread is shown as abandoned until its function returns, and then ends; its place is
        filled. A future still waiting is cancelled. True when a thread was abandoned.
        """
        if future.cancel():
            return False
        with self._lock:
            worker = next((w for w in self._workers if w.task and w.task.future is future), None)
            if worker is None or future.done():
                return False
            self._workers.discard(worker)
            self._abandoned.add(worker)
            self._abandoned_total += 1
            self._blocked -= bool(worker.waiting_on)
            worker.abandoned = True
            hired = self._hire(limit=1)
        self._start(hired)
        return True

    def rows(self) -> tuple[ThreadState, ...]:
        """Every thread, abandoned ones too, by name."""
        frames = _innermost_frames()
        with self._lock:  # a thread leaves these sets before it ends, so each is alive here
            now = self._clock()
            rows = [worker.row(now, frames) for worker in self._workers | self._abandoned]
        return tuple(sorted(rows, key=lambda row: (len(row.name), row.name)))

    def sums(self) -> ThreadSums:
        """The terms of the sum at this moment."""
        with self._lock:
            return self._sums()

    @property
    def waiting(self) -> int:
        """Tasks that wait for a thread."""
        with self._lock:
            return sum(not task.future.cancelled() for _, _, task in self._waiting)

    @property
    def abandoned_total(self) -> int:
        """Threads abandoned since the start."""
        return self._abandoned_total

    def shutdown(self, timeout_s: float = 5.0) -> int:
        """Refuse new work, cancel what waits, let what runs end within `timeout_s`.

        Returns the number of threads that still run then; they are daemons and hold up no exit.
        """
        with self._lock:
            self._closed = True
            cancelled = [task for _, _, task in self._waiting]
            self._waiting.clear()
            self._waiting_s = 0.0
            workers = self._workers | self._abandoned
            for worker in self._idle:
                worker.wake.release()
            self._idle.clear()
            steward = self._steward
        self._work_waits.set()
        for task in cancelled:
            task.future.cancel()
        deadline = time.monotonic() + timeout_s
        threads = [worker.thread for worker in workers if worker.thread.ident is not None]
        for thread in [*threads, *([steward] if steward else [])]:
            if thread is not threading.current_thread():
                thread.join(max(deadline - time.monotonic(), 0.0))
        return sum(thread.is_alive() for thread in threads)

    # Below, "locked" means: the caller holds self._lock.

    def _enqueue(self, task: Task) -> None:
        """Locked. Put the task into its place and see to it that the steward watches."""
        task.expected_s = self._times.expected_s(task.syscall)
        heapq.heappush(self._waiting, (task.priority, next(self._arrivals), task))
        self._waiting_s += task.expected_s
        if not self._work_waits.is_set():
            self._work_waits.set()

    def _dequeue(self) -> Task | None:
        """Locked. The next task that nobody cancelled; it can no longer be cancelled."""
        while self._waiting:
            task = heapq.heappop(self._waiting)[2]
            self._waiting_s = self._waiting_s - task.expected_s if self._waiting else 0.0
            if task.future.set_running_or_notify_cancel():
                return task
        return None

    def _sums(self) -> ThreadSums:
        """Locked."""
        now = self._clock()
        running_s = (worker.expected_s(now) for worker in self._workers if not worker.waiting_on)
        return self._times.sums(self._waiting_s, running_s, len(self._workers) - self._blocked)

    def _hire(self, limit: int) -> list[Worker]:
        """Locked. New workers, up to `limit`, as many as the sum wants for the waiting work."""
        if not self._waiting or self._idle or self._closed:
            return []
        threads = len(self._workers)
        running = threads - self._blocked
        wanted = min(max(self._sums().wanted, self.minimum), running + len(self._waiting))
        room = min(self.maximum - threads, limit) if threads < self.maximum else int(running == 0)
        hired: list[Worker] = []
        while len(hired) < room and running + len(hired) < wanted:
            hired.append(Worker(f"{self._name}-{next(self._numbers)}", self._work))
        self._workers.update(hired)
        return hired

    def _start(self, hired: list[Worker]) -> None:
        """Start hired workers, and the steward with the first."""
        for worker in hired:
            try:
                worker.thread.start()
            except RuntimeError as error:
                with self._lock:
                    self._workers.discard(worker)
                    others = len(self._workers)
                if not others:  # otherwise they will come to the task
                    raise Busy(
                        "no thread can be started", hint="raise the process limit"
                    ) from error
        if hired and self._steward is None:
            self._start_steward()

    def _start_steward(self) -> None:
        with self._lock:
            if self._steward is not None or self._closed:
                return
            self._steward = threading.Thread(
                target=self._watch, name=f"{self._name}-steward", daemon=True
            )
            self._steward.start()

    def _watch(self) -> None:
        """The steward: while work waits, take the sum again, since time alone may change it."""
        pause = threading.Event()
        while not self._closed:
            self._work_waits.wait()
            pause.wait(CHECK_S)
            with self._lock:
                if not self._waiting and not self._closed:
                    self._work_waits.clear()
                hired = self._hire(limit=self.maximum)
            self._start(hired)

    def _work(self, worker: Worker) -> None:
        """The life of a pool thread."""
        self._current.worker = worker
        while (task := self._next(worker)) is not None:
            task.run()
            del task  # an idle thread keeps no argument or result alive

    def _next(self, worker: Worker) -> Task | None:
        """Close the books on the last task and wait for the next one; None: the thread ends."""
        with self._lock:
            self._account(worker)
            task = self._take(worker)
            if task is not None or worker not in self._workers:
                return task
            self._idle.append(worker)
        while True:
            woken = worker.wake.acquire(timeout=self._idle_s)
            with self._lock:
                task = self._resume(worker, woken)
                if task is not None or worker not in self._workers:
                    return task

    def _account(self, worker: Worker) -> None:
        """Locked. Record the time of the task that just ended."""
        task, worker.task = worker.task, None
        if task is not None:
            now = self._clock()
            run_s = max(now - worker.started_at, 0.0)
            worker.busy_s += run_s
            worker.last_cpu_s = time.thread_time()
            self._times.record(now, task.syscall, run_s)

    def _take(self, worker: Worker) -> Task | None:
        """Locked. Begin the next waiting task; without one on shutdown, or abandoned: leave."""
        if worker.abandoned or (task := self._dequeue()) is None:
            if worker.abandoned or self._closed:
                self._workers.discard(worker)
                self._abandoned.discard(worker)
            return None
        worker.task = task
        worker.started_at = self._clock()
        return task

    def _resume(self, worker: Worker, woken: bool) -> Task | None:
        """Locked. After the wait: the task handed over, or one that waits, or leave when idle."""
        task = worker.task
        if task is not None:
            if not woken:  # handed over just as the wait ran out: take the release along
                worker.wake.acquire()
            now = worker.started_at = self._clock()
            self._times.record_switch(now, now - task.queued_at)
            task.expected_s = self._times.expected_s(task.syscall)
            if task.future.set_running_or_notify_cancel():
                return task
            worker.task = None
            task = self._take(worker)
            if task is None and worker in self._workers:
                self._idle.append(worker)
            return task
        if self._closed or len(self._workers) > self.minimum:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)
        return None


def _innermost_frames() -> dict[int, FrameType]:
    """The innermost frame of each thread, by its ident.

    A garbage collection in the middle of it deadlocks Python 3.11 (its issue gh-106883).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        if was_enabled:
            gc.enable()
