"""What a pull reports, and when it stops."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import Cancelled
from lingos_kernel.models.progress import REPORT_EVERY_S, Meter, PullProgress


@given(
    steps=st.lists(st.tuples(st.integers(0, 50), st.floats(0, 0.2)), max_size=60),
    total=st.integers(1, 200),
)
def test_reports_grow_and_are_seldom(steps: list[tuple[int, float]], total: int) -> None:
    """Bytes never go back nor beyond the whole; reports keep their distance, but for the end."""
    now = 0.0
    seen: list[tuple[float, int]] = []
    meter = Meter("m", lambda progress: seen.append((now, progress.done_bytes)), clock=lambda: now)
    meter.begin("downloading", total_bytes=total)
    for count, seconds in steps:
        now += seconds
        meter.advance(count)
    done = [count for _, count in seen]
    assert done == sorted(done)
    assert done[-1] <= total
    if sum(count for count, _ in steps) >= total:
        assert done[-1] == total
    for (earlier, _), (later, count) in pairwise(seen):
        assert later - earlier >= REPORT_EVERY_S or count == total


def test_a_phase_starts_with_a_report() -> None:
    """Each phase is told at once, with its file and its size."""
    seen: list[PullProgress] = []
    meter = Meter("m", seen.append)
    meter.begin("hashing", total_bytes=10, file="a")
    meter.begin("storing")
    assert seen == [
        PullProgress("m", "hashing", 0, 10, "a"),
        PullProgress("m", "storing", 0, None, ""),
    ]


def test_a_set_event_stops_the_next_step() -> None:
    """Work goes on until the event is set, and ends at the next byte counted."""
    stop = threading.Event()
    meter = Meter("m", cancelled=stop)
    meter.begin("downloading")
    meter.advance(1)
    stop.set()
    with pytest.raises(Cancelled, match="m was cancelled"):
        meter.advance(1)
