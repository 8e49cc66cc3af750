"""How long tools take, to say for how long the pages of who waits for them are worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FIRST_S = 2.0
"""For a tool that never ran before."""
LEAST_S = 0.25
"""No hold is shorter: the next turn takes a moment to be made even when the tool takes none."""
DEVIATIONS = 4.0
"""Beyond the mean, so that nearly all calls are back in time."""
MEAN_GAIN, DEVIATION_GAIN = 1 / 8, 1 / 4


@dataclass(slots=True)
class _Times:
    mean_s: float
    deviation_s: float


class ToolTimes:
    """Moving averages of each tool's durations, as TCP keeps them of its round trips (RFC 6298).

    That pages outlive a tool call by a time that follows the tool's own is from Continuum (Li et
    al. 2025, "Efficient and Robust Multi-Turn LLM Agent Scheduling with KV Cache Time-to-Live").
    """

    def __init__(self, *, longest_s: float, clock: Callable[[], float]) -> None:
        """`longest_s`: no hold is longer; 0: pages are not held for tools."""
        self._longest_s = longest_s
        self._clock = clock
        self._times: dict[str, _Times] = {}

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """Take in how long the tool takes: the block's time, however it ends."""
        began_s = self._clock()
        try:
            yield
        finally:
            self.observe(name, self._clock() - began_s)

    def observe(self, name: str, seconds: float) -> None:
        """Take in how long a call of a tool took."""
        times = self._times.get(name)
        if times is None:
            self._times[name] = _Times(seconds, seconds / 2)
            return
        distance_s = abs(seconds - times.mean_s)
        times.deviation_s += DEVIATION_GAIN * (distance_s - times.deviation_s)
        times.mean_s += MEAN_GAIN * (seconds - times.mean_s)

    def hold_s(self, names: Iterable[str]) -> float:
        """For how long to hold the pages of who waits for all of these tools; 0: not at all.

        A tool that takes longer than the longest hold on average is not waited for: the pages
        would be kept for nothing.
        """
        return max(map(self._hold_s, names), default=0.0)

    def _hold_s(self, name: str) -> float:
        times = self._times.get(name)
        if times is None:
            return min(FIRST_S, self._longest_s)
        if times.mean_s > self._longest_s:
            return 0.0
        wanted_s = times.mean_s + DEVIATIONS * times.deviation_s
        return min(max(wanted_s, LEAST_S), self._longest_s)
