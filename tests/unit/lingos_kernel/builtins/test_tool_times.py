"""For how long pages are held for a tool."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.builtins.tool_times import FIRST_S, LEAST_S, ToolTimes
from lingos_kernel.testing.clock import FakeClock


@pytest.fixture
def times() -> ToolTimes:
    """Nothing seen yet, holds of ten seconds at most."""
    return ToolTimes(longest_s=10.0, clock=FakeClock())


def test_a_tool_that_never_ran_gets_a_guess(times: ToolTimes) -> None:
    """Short enough to cost little, long enough for most."""
    assert times.hold_s(["new"]) == FIRST_S


def test_follows_what_the_tool_takes(times: ToolTimes) -> None:
    """A steady tool is held for little more than it takes; a changing one for longer."""
    for _ in range(50):
        times.observe("steady", 1.0)
    for index in range(50):
        times.observe("changing", 0.5 + index % 2)
    assert times.hold_s(["steady"]) == pytest.approx(1.0, abs=0.05)
    assert times.hold_s(["changing"]) > 2.0
    assert times.hold_s(["steady", "changing"]) == times.hold_s(["changing"])


def test_a_tool_that_takes_too_long_is_not_waited_for(times: ToolTimes) -> None:
    """Its pages would be kept for nothing."""
    times.observe("slow", 60.0)
    assert times.hold_s(["slow"]) == 0.0


def test_nothing_is_held_when_the_longest_hold_is_none() -> None:
    """`engine.max_hold_s = 0` turns it off."""
    times = ToolTimes(longest_s=0.0, clock=FakeClock())
    times.observe("quick", 0.0)
    assert times.hold_s(["quick", "new"]) == 0.0


def test_measures_a_tool_however_it_ends() -> None:
    """A tool that fails takes its time, too."""
    clock = FakeClock()
    times = ToolTimes(longest_s=10.0, clock=clock)

    def break_after(seconds: float) -> None:
        with times.measured("tool"):
            clock.advance(seconds)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        break_after(2.0)
    assert times.hold_s(["tool"]) == 6.0


@given(st.lists(st.floats(0, 1000), max_size=30))
def test_no_hold_is_longer_than_allowed(seconds: list[float]) -> None:
    """Whatever was measured."""
    times = ToolTimes(longest_s=10.0, clock=FakeClock())
    for value in seconds:
        times.observe("tool", value)
    found = times.hold_s(["tool"])
    assert found == 0.0 or LEAST_S <= found <= 10.0
