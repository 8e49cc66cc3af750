"""Numbers of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.simulation.summary import jain_index, percentile, summarize


def test_jain_tells_equal_shares_from_unequal() -> None:
    """1 for all alike, 1/n for one who has everything, 1 for nobody having anything."""
    assert jain_index([3.0, 3.0, 3.0]) == pytest.approx(1)
    assert jain_index([5.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain_index([0.0, 0.0]) == 1


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_jain_is_between_one_nth_and_one(shares: list[float]) -> None:
    """Whatever the shares."""
    assert 1 / len(shares) - 1e-9 <= jain_index(shares) <= 1 + 1e-9


def test_percentiles_and_empty_runs() -> None:
    """A percentile is one of the values; nothing comes to zeros."""
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 3.0
    assert percentile([1.0, 2.0], 99) == 2.0
    assert percentile([], 50) == 0.0
    assert summarize([]).requests == 0
