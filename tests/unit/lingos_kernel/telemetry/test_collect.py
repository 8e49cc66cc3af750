"""Tests of the sums in the kernel's picture."""

from __future__ import annotations

import pytest

from lingos_kernel.engine.messages import EngineStats
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
    assert _rates(stats).prefix_hit_share == share
