"""Tests of the sums in the kernel's picture."""

from __future__ import annotations

import pytest

from lingos_kernel.engine.messages import EngineStats
from lingos_kernel.engine.stat_rows import ModelStats
from lingos_kernel.telemetry.collect import _rates


@pytest.mark.parametrize(
    ("computed", "cached", "share"), [(0, 0, 0.0), (25, 75, 0.75), (0, 10, 1.0), (10, 0, 0.0)]
)
def test_the_share_of_cached_prompt_tokens_is_at_most_one(
    computed: int, cached: int, share: float
) -> None:
    """Cached tokens are measured against all of a prompt, not against what was computed."""
    stats = EngineStats(
        step=1, time_s=0.0, prompt_tokens_total=computed, cached_tokens_total=cached
    )
    assert _rates(stats, 0.0).prefix_hit_share == share


@pytest.mark.parametrize(("running", "silent_s", "rate"), [(0, 1, 9.0), (0, 3, 0.0), (1, 3, 9.0)])
def test_an_idle_engine_has_no_rates(running: int, silent_s: float, rate: float) -> None:
    """What it told last was of work that is over; one that computes a long step still has them."""
    model = ModelStats(
        name="m", weight_bytes=1, page_bytes=1, pages_total=1, pages_used=0, pages_cached=0,
        pages_free=1, running=running, waiting=0,
    )  # fmt: skip
    stats = EngineStats(
        step=1, time_s=50.0, models=(model,), output_tokens_per_s=9.0, prompt_tokens_per_s=9.0,
        floor_share=9.0,
    )  # fmt: skip
    rates = _rates(stats, 50.0 + silent_s)
    assert (rates.output_tokens_per_s, rates.prompt_tokens_per_s, rates.floor_share) == (rate,) * 3
