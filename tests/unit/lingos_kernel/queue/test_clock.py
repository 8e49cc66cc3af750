"""Time that neither jumps nor goes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.queue.clock import ForwardClock, SteadyClock


def test_setting_the_machines_clock_changes_nothing() -> None:
    """After its making a steady clock follows the monotonic one alone."""
    wall_s, monotonic_s = 1000.0, 5.0
    clock = SteadyClock(wall=lambda: wall_s, monotonic=lambda: monotonic_s)
    assert clock() == 1000.0
    wall_s, monotonic_s = 99_999.0, 8.0
    assert clock() == 1003.0


@given(st.lists(st.floats(-1e6, 1e6), max_size=30), st.floats(0, 1e6))
def test_a_forward_clock_never_goes_back_and_keeps_its_pace(
    readings: list[float], floor_s: float
) -> None:
    """Whatever the source does: no step back, and steps ahead are the source's own."""
    source_s = 0.0
    clock = ForwardClock(lambda: source_s, floor_s=floor_s)
    last_s = clock()
    assert last_s >= floor_s
    for reading in readings:
        step_s = reading - source_s
        source_s = reading
        now_s = clock()
        assert now_s >= last_s
        assert abs((now_s - last_s) - max(step_s, 0.0)) < 1e-3
        last_s = now_s
