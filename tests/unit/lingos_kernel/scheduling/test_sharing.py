"""How a budget is divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.sharing import QUANTUM_TOKENS, fill_levels, split_evenly


@given(st.lists(st.integers(0, 500), max_size=40).map(sorted), st.integers(0, 2000))
def test_even_parts_differ_only_for_those_who_want_less(demands: list[int], budget: int) -> None:
    """Nobody has two tokens less than another while it still wants some."""
    parts = split_evenly(demands, budget)
    assert sum(parts) == min(sum(demands), budget)
    most = max(parts, default=0)
    assert all(
        part == demand or part >= most - 1 for part, demand in zip(parts, demands, strict=True)
    )


@given(
    st.lists(
        st.tuples(st.floats(0, 1000), st.sampled_from([0.5, 1.0, 3.0]), st.integers(1, 500)),
        max_size=20,
    ),
    st.integers(0, 1000),
)
def test_levels_come_together(lanes: list[tuple[float, float, int]], budget: int) -> None:
    """Who still wants some is at most a quantum below whoever was given any."""
    levels, weights, demands = ([lane[part] for lane in lanes] for part in range(3))
    parts = fill_levels(levels, weights, demands, budget)
    assert sum(parts) == min(sum(demands), budget)
    assert all(0 <= part <= demand for part, demand in zip(parts, demands, strict=True))
    after = [
        level + part / weight for level, part, weight in zip(levels, parts, weights, strict=True)
    ]
    lowest = min((a for a, p, d in zip(after, parts, demands, strict=True) if p < d), default=None)
    if lowest is not None:
        for level, part, weight in zip(after, parts, weights, strict=True):
            assert not part or level - QUANTUM_TOKENS / weight <= lowest + 1e-6


def test_a_part_raises_by_the_weight() -> None:
    """Three to one, from the same level."""
    parts = fill_levels([7.0, 7.0], [3.0, 1.0], [900, 900], 512)
    assert parts[0] / parts[1] == pytest.approx(3, rel=0.2)
