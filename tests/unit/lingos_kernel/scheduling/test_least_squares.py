"""Least squares with coefficients that are not negative."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.least_squares import NormalEquations


@given(st.lists(st.floats(0.1, 10), min_size=3, max_size=3), st.integers(0, 1000))
def test_finds_the_coefficients_that_made_the_data(truth: list[float], seed: int) -> None:
    """Without noise they come back, whatever their sizes."""
    numbers = random.Random(seed)
    equations = NormalEquations(3)
    for _ in range(30):
        features = (1.0, numbers.randint(0, 64), numbers.randint(0, 512))
        equations.add(features, sum(f * t for f, t in zip(features, truth, strict=True)))
    assert equations.solve() == pytest.approx(truth, rel=1e-3)


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(-10, 10)),
        max_size=20,
    )
)
def test_coefficients_are_never_negative(data: list[tuple[float, float, float]]) -> None:
    """Whatever the observations say, and even if there are none."""
    equations = NormalEquations(2)
    for first, second, target in data:
        equations.add((first, second), target)
    assert all(coefficient >= 0 for coefficient in equations.solve())


def test_what_is_denied_is_nothing() -> None:
    """A feature that seems to make things faster gets 0, and the others are fitted without it."""
    equations = NormalEquations(2)
    for value in range(10):
        equations.add((1.0, value), 20.0 - value)
    constant, slope = equations.solve()
    assert slope == 0
    assert constant == pytest.approx(15.5)


def test_features_that_say_the_same_are_no_trouble() -> None:
    """Doubled ones share what they explain."""
    equations = NormalEquations(2)
    for value in range(10):
        equations.add((value, value), 3.0 * value)
    assert sum(equations.solve()) == pytest.approx(3.0, rel=1e-6)


def test_the_old_fades() -> None:
    """After a change the new observations prevail."""
    equations = NormalEquations(1)
    for target in [1.0] * 50 + [2.0] * 50:
        equations.fade(0.8)
        equations.add((1.0,), target)
    assert equations.solve() == pytest.approx([2.0], rel=1e-3)
