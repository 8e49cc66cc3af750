"""How many threads the pool wants: the sum of the design over a sliding window, purely.

T_task = sum(T_i) + T * S, N = T_task / (T_avg + S)

T_i is the expected run time of each task at hand (waiting or running; a task that already ran
longer than expected counts with the time it took), T the threads that now run, S the measured time
to hand a task to a thread, T_avg the mean run time of the tasks that ended within the window. So N
is the number of threads that would clear all work at hand within one average task and one switch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

UNKNOWN_TASK_S = 0.1
"""Expected time of a task when none has ended yet."""


@dataclass(frozen=True, slots=True)
class ThreadSums:
    """The terms of the sum, as the scheduler pane shows them."""

    task_s: float
    """T_task"""
    threads: int
    """T"""
    average_s: float
    """T_avg"""
    switch_s: float
    """S"""
    wanted: float
    """N, before the pool's bounds."""


def size(work_s: float, threads: int, average_s: float, switch_s: float) -> ThreadSums:
    """The sum for `work_s` seconds of work at hand on `threads` running threads."""
    task_s = work_s + threads * switch_s
    wanted = task_s / max(average_s + switch_s, 1e-9)
    return ThreadSums(task_s, threads, average_s, switch_s, wanted)


class Mean:
    """Mean of the values recorded within the last `window_s` seconds, and at most `limit` of them.

    When all have left the window the last mean stands: an idle pool keeps what it has learnt.
    """

    __slots__ = ("_last", "_limit", "_sum", "_values", "_window_s")

    def __init__(self, window_s: float, limit: int = 1024) -> None:
        self._window_s = window_s
        self._limit = limit
        self._values: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._last: float | None = None

    def record(self, now: float, value: float) -> None:
        """Take one measurement into the window."""
        values = self._values
        values.append((now, value))
        self._sum += value
        oldest = now - self._window_s
        while len(values) > self._limit or values[0][0] < oldest:
            self._sum -= values.popleft()[1]
        self._last = max(self._sum, 0.0) / len(values)

    def value(self, default: float) -> float:
        """The mean, or `default` before the first measurement."""
        return default if self._last is None else self._last


class TaskTimes:
    """Measured run times of tasks, overall and by syscall, and of switches."""

    def __init__(self, window_s: float = 30.0, syscalls_limit: int = 1024) -> None:
        self._window_s = window_s
        self._syscalls_limit = syscalls_limit
        self._all = Mean(window_s)
        self._switches = Mean(window_s)
        self._by_syscall: dict[str, Mean] = {}

    def record(self, now: float, syscall: str, run_s: float) -> None:
        """A task of `syscall` ended after `run_s`."""
        self._all.record(now, run_s)
        mean = self._by_syscall.get(syscall)
        if mean is None:
            if len(self._by_syscall) >= self._syscalls_limit:
                self._by_syscall.pop(next(iter(self._by_syscall)))
            mean = self._by_syscall[syscall] = Mean(self._window_s, limit=128)
        mean.record(now, run_s)

    def record_switch(self, now: float, switch_s: float) -> None:
        """Handing a task to an idle thread took `switch_s`."""
        self._switches.record(now, max(switch_s, 0.0))

    def expected_s(self, syscall: str) -> float:
        """Expected run time of a task: its syscall's mean, else the mean of all."""
        mean = self._by_syscall.get(syscall)
        return self.average_s if mean is None else mean.value(UNKNOWN_TASK_S)

    @property
    def average_s(self) -> float:
        """T_avg: mean run time of all tasks."""
        return self._all.value(UNKNOWN_TASK_S)

    @property
    def switch_s(self) -> float:
        """S: mean time of a switch."""
        return self._switches.value(0.0)

    def sums(self, waiting_s: float, running_s: Iterable[float], threads: int) -> ThreadSums:
        """The sum for the expected times of waiting tasks and of each running task."""
        return size(waiting_s + sum(running_s), threads, self.average_s, self.switch_s)
