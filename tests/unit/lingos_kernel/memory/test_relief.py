"""Keep, spill, drop, fetch or compute: whichever the measured rates make cheaper."""

from __future__ import annotations

import pytest

from lingos_kernel.memory.relief import SECOND_LOOK, Prices, Rate, choose_relief


def prices(*, prefill: float, down: float, up: float) -> Prices:
    """Rates as measured once: tokens a second and bytes a second."""
    found = Prices(down={"host": Rate()}, up={"host": Rate()})
    found.prefill.add(prefill, 1.0)
    found.down["host"].add(down, 1.0)
    found.up["host"].add(up, 1.0)
    return found


@pytest.mark.parametrize(
    ("shortage", "is_trip_cheaper", "relief"),
    [
        ("slots", True, "keep"),
        ("slots", False, "keep"),
        ("pages", True, "spill"),
        ("pages", False, "drop"),
    ],
)
def test_the_decision(shortage: str, is_trip_cheaper: bool, relief: str) -> None:
    """Pages stay while only a place is short; else the cheaper way back decides."""
    assert choose_relief(shortage, is_trip_cheaper=is_trip_cheaper) == relief  # type: ignore[arg-type]


def test_both_ways_count_for_a_spill_and_one_for_a_fetch() -> None:
    """1,000 bytes hold 10 tokens, a second to compute; each way takes 0.8 seconds."""
    found = prices(prefill=10, down=1250, up=1250)
    assert found.is_up_cheaper("host", 1000, 10)
    assert not found.is_round_trip_cheaper("host", 1000, 10)
    faster = prices(prefill=10, down=5000, up=5000)
    assert faster.is_round_trip_cheaper("host", 1000, 10)


def test_what_was_never_measured_is_tried() -> None:
    """Without a rate of computing or of moving, moving is given the first try."""
    assert Prices().is_up_cheaper("disk", 1000, 10)
    found = Prices()
    found.prefill.add(10, 1.0)
    assert found.is_round_trip_cheaper("disk", 1000, 10)


def test_a_way_that_was_too_slow_once_gets_a_second_look() -> None:
    """One bad measurement does not close a tier for ever."""
    found = prices(prefill=1000, down=1, up=1)
    tried = [found.is_up_cheaper("host", 1000, 10) for _ in range(SECOND_LOOK)]
    assert tried.count(True) == 1


def test_a_rate_follows_and_weighs_by_time() -> None:
    """Long measurements count more than short ones, newer more than older."""
    rate = Rate()
    assert rate.per_s is None
    rate.add(100, 0.0)
    assert rate.per_s is None
    rate.add(100, 1.0)
    rate.add(1, 0.0001)
    assert rate.per_s == pytest.approx(100, rel=0.02)
    for _ in range(60):
        rate.add(500, 1.0)
    assert rate.per_s == pytest.approx(500, rel=0.02)
