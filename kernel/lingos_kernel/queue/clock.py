"""Time for things that outlive a process: wall time that neither jumps nor goes back."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class SteadyClock:
    """Unix time as of its making, carried on by the monotonic clock.

    Setting the machine's clock while a program runs makes nothing due early or late.
    """

    def __init__(self, wall: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._offset_s = wall() - monotonic()
        self._monotonic = monotonic

    def __call__(self) -> float:
        """Unix time, in seconds."""
        return self._monotonic() + self._offset_s


class ForwardClock:
    """Another clock, except that it never goes back, not even behind `floor_s`.

    When the other one jumps back this one goes on from where it was, at the same pace, so what
    was due in ten seconds still is.
    """

    def __init__(self, clock: Clock, floor_s: float = 0.0) -> None:
        self._clock = clock
        self._last_s = floor_s
        self._offset_s = 0.0

    def __call__(self) -> float:
        """The other clock's time, or more."""
        now = self._clock() + self._offset_s
        if now < self._last_s:
            self._offset_s += self._last_s - now
            now = self._last_s
        self._last_s = now
        return now
