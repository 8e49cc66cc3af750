"""N = M // C, with C as measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.memory.admission import LEAST, WINDOW, Admission


def test_nothing_is_held_back_before_enough_is_measured() -> None:
    """The first few tell too little."""
    admission = Admission(64)
    for _ in range(LEAST - 1):
        admission.observe(60)
    assert (admission.pages_per_inference, admission.limit(32)) == (0.0, 32)
    admission.observe(60)
    assert (admission.pages_per_inference, admission.limit(32)) == (60.0, 1)


def test_n_inferences_of_c_pages_fit() -> None:
    """64 pages take six inferences of ten, and never more than allowed."""
    admission = Admission(64)
    for _ in range(LEAST):
        admission.observe(10)
    assert admission.limit(32) == 6
    assert admission.limit(4) == 4


def test_the_mean_follows_what_comes() -> None:
    """After a window of short ones the long ones are forgotten."""
    admission = Admission(64)
    for pages in [50] * WINDOW + [2] * WINDOW:
        admission.observe(pages)
    assert admission.pages_per_inference == 2.0


@given(st.lists(st.integers(0, 500), max_size=200), st.integers(1, 300), st.integers(1, 64))
def test_one_may_always_run_and_the_load_is_at_most_one(
    ended: list[int], pages: int, most: int
) -> None:
    """1 <= N, and N x C <= M unless N is 1."""
    admission = Admission(pages)
    for held in ended:
        admission.observe(held)
    limit = admission.limit(most)
    assert 1 <= limit <= most
    assert limit == 1 or limit * admission.pages_per_inference <= pages


def test_a_device_that_is_full_takes_fewer_until_some_have_ended() -> None:
    """What it has no room for is not tried again at once, but some time later."""
    admission = Admission(100)
    admission.on_overflow(4)
    assert admission.limit(8) == 3
    for expected in (4, 5):
        admission.on_ended()
        assert admission.limit(8) == expected
    admission.on_overflow(1)
    assert admission.limit(8) == 1
