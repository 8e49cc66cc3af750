"""How many processor cores a forward pass uses."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import psutil
import torch

MANY_ROWS = 8
"""From here on a pass is bound by arithmetic, and every core helps."""
INTERVAL_S = 0.5
"""How often it is looked what others do."""


class OthersWork:
    """How many cores other programs keep busy."""

    def __init__(
        self,
        read: Callable[[], tuple[float, float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` gives the seconds of work of all programs, and those of this one, so far."""
        self._read = read or read_work
        self._clock = clock
        self._last_s = clock()
        self._last_work = self._read()
        self._cores = 0.0

    def cores(self) -> float:
        """The mean of an interval that ended at most `INTERVAL_S` ago, or with the last pass."""
        passed_s = self._clock() - self._last_s
        if passed_s >= INTERVAL_S:
            everybody, own = self._read()
            before, own_before = self._last_work
            others_s = (everybody - before) - (own - own_before)
            self._cores = max(others_s / passed_s, 0.0)
            self._last_s, self._last_work = self._last_s + passed_s, (everybody, own)
        return self._cores


class CpuThreads:
    """As many threads as cores are left by others; half of that at most for a few rows.

    Threads that share a layer's work wait for the last of them, some hundred times in a pass. One
    that has to wait for a core holds up all: on two cores of which another program takes one, two
    threads decode at a third of the speed of one. And a pass of a few rows waits for memory, which
    half of the cores keep busy; the others are left to the kernel and its callers.
    """

    def __init__(
        self, device: torch.device, threads: int, others: Callable[[], float] | None = None
    ) -> None:
        """`threads` are all that there are; below 2 nothing is ever changed."""
        self._is_adaptive = device.type == "cpu" and threads > 1
        self._all = threads
        self._cores = os.cpu_count() or threads
        self._others = others or OthersWork().cores

    def use_for(self, rows: int) -> None:
        """Set the threads of torch's operators for a pass of so many rows."""
        if self._is_adaptive:
            wanted = self._all if rows >= MANY_ROWS else self._all // 2
            free = math.floor(self._cores - self._others() + 0.5)
            torch.set_num_threads(max(min(wanted, free), 1))


def read_work() -> tuple[float, float]:
    """Seconds of work of all programs on this machine, and of this one."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    guests_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # in user, too
    return sum(times) - idle_s - guests_s, time.process_time()
