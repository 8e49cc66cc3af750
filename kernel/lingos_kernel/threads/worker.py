"""A pool's thread and its task, as plain records; the pool's lock guards all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType
from typing import Any

from lingos_kernel.threads.rows import ThreadState


class Task:
    """A function to run on a pool thread, for whom, and where its result goes."""

    __slots__ = (
        "expected_s",
        "function",
        "future",
        "on_start",
        "pid",
        "priority",
        "queued_at",
        "syscall",
    )

    def __init__(
        self,
        function: Callable[[], Any],
        syscall: str,
        pid: int,
        priority: int,
        on_start: Callable[[], None] | None,
    ) -> None:
        self.function = function
        self.syscall = syscall
        self.pid = pid
        self.priority = priority
        self.on_start = on_start
        self.future: Future[Any] = Future()
        self.expected_s = 0.0
        self.queued_at = 0.0

    def run(self) -> None:
        """Run the function and settle the future, whatever is raised."""
        try:
            if self.on_start is not None:
                self.on_start()
            result = self.function()
        except BaseException as error:  # noqa: BLE001  the future carries it to the caller
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class Worker:
    """A thread of the pool and what it does."""

    __slots__ = (
        "abandoned",
        "busy_s",
        "last_cpu_s",
        "started_at",
        "task",
        "thread",
        "waiting_on",
        "wake",
    )

    def __init__(self, name: str, target: Callable[[Worker], None]) -> None:
        self.thread = threading.Thread(target=target, args=(self,), name=name, daemon=True)
        self.wake = threading.Lock()
        """Held while there is nothing to do; whoever hands over a task releases it."""
        self.wake.acquire()
        self.task: Task | None = None
        self.started_at = 0.0
        self.busy_s = 0.0
        self.last_cpu_s = 0.0
        self.waiting_on = ""
        self.abandoned = False

    @property
    def state(self) -> str:
        """idle, running, blocked or abandoned."""
        if self.abandoned:
            return "abandoned"
        if self.task is None:
            return "idle"
        return "blocked" if self.waiting_on else "running"

    def expected_s(self, now: float) -> float:
        """Expected run time of the task at hand, at least what it already took; idle: 0."""
        task = self.task
        return 0.0 if task is None else max(task.expected_s, now - self.started_at)

    def row(self, now: float, frames: dict[int, FrameType]) -> ThreadState:
        """The thread as the snapshot shows it. The thread must not have ended."""
        task = self.task
        frame = frames.get(self.thread.ident or -1) if task is not None else None
        return ThreadState(
            name=self.thread.name,
            state=self.state,
            syscall=task.syscall if task else "",
            pid=task.pid if task else 0,
            waiting_on=self.waiting_on,
            frame=describe_frame(frame) if frame else "",
            cpu_s=self._cpu_s(),
            busy_s=self.busy_s + (max(now - self.started_at, 0.0) if task else 0.0),
        )

    def _cpu_s(self) -> float:
        ident = self.thread.ident
        if ident is None:  # hired, not yet started
            return 0.0
        if hasattr(time, "pthread_getcpuclockid"):
            return time.clock_gettime(time.pthread_getcpuclockid(ident))
        return self.last_cpu_s  # as of the end of its last task


def describe_frame(frame: FrameType) -> str:
    """file:line function, the file's last two parts only."""
    code = frame.f_code
    file = "/".join(code.co_filename.rsplit("/", 2)[-2:])
    return f"{file}:{frame.f_lineno} {code.co_qualname}"
