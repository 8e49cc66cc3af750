"""Statistics over several lives."""

from __future__ import annotations

from lingos_kernel.engine.messages import EngineStats
from lingos_kernel.engine.totals import Totals


def test_totals_add_up() -> None:
    """Totals are those of all lives; the rest is of the present one."""
    totals = Totals()
    totals.take(EngineStats(step=9, time_s=1.0, output_tokens_total=5, preemptions_total=1))
    totals.end_life()
    assert (totals.stats.step, totals.stats.output_tokens_total) == (0, 5)
    totals.end_life()
    totals.take(EngineStats(step=2, time_s=2.0, output_tokens_total=3))
    assert (totals.stats.step, totals.stats.output_tokens_total) == (2, 8)
    assert totals.stats.preemptions_total == 1
