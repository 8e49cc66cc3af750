"""Statistics over the lives of an engine: totals go on where the last life left off."""

from __future__ import annotations

from msgspec.structs import replace

from lingos_kernel.engine.messages import EngineStats

TOTALS = (
    "prompt_tokens_total",
    "output_tokens_total",
    "cached_tokens_total",
    "preemptions_total",
)


class Totals:
    """The newest statistics, with totals since the first life began."""

    def __init__(self) -> None:
        self._before = dict.fromkeys(TOTALS, 0)
        self.stats = EngineStats(step=0, time_s=0.0)

    def take(self, stats: EngineStats) -> None:
        """Account for the newest statistics of the present life."""
        totals = {name: getattr(stats, name) + self._before[name] for name in TOTALS}
        self.stats = replace(stats, **totals)

    def end_life(self) -> None:
        """The engine ended: nothing runs, nothing is in memory, the totals stay."""
        self._before = {name: getattr(self.stats, name) for name in TOTALS}
        idle = EngineStats(step=0, time_s=self.stats.time_s, policy=self.stats.policy)
        self.stats = replace(idle, **self._before)
