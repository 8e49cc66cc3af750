"""Back-off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.queue.jobs import Backoff


def test_back_off_doubles_up_to_its_limit() -> None:
    """Without luck, the full delay."""
    backoff = Backoff(base_s=1, factor=2, limit_s=10)
    delays = [backoff.delay_s(attempt, lambda: 0.0) for attempt in range(1, 7)]
    assert delays == [1, 2, 4, 8, 10, 10]


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_jitter_only_shortens(attempt: int, chance: float) -> None:
    """The delay is between (1 - jitter) and all of the full one, however many the attempts."""
    full_s = Backoff(jitter=0).delay_s(attempt)
    delay_s = Backoff(jitter=0.5).delay_s(attempt, lambda: chance)
    assert full_s * 0.5 <= delay_s <= full_s <= 300.0
    assert delay_s == pytest.approx(full_s * (1 - 0.5 * chance))
