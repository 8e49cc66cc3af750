"""Numbers in few columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_shell.tui.units import clock, percent, rate, seconds, short_bytes, short_count


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (short_bytes(0), "-"),
        (short_bytes(900), "900B"),
        (short_bytes(257 * 2**20), "257M"),
        (short_bytes(1.3 * 2**30), "1.3G"),
        (short_count(1234), "1.2k"),
        (short_count(134_500_000), "134M"),
        (rate(41.23), "41.2"),
        (rate(1240.0), "1.2k"),
        (rate(0.0), "-"),
        (seconds(0.0851), "85ms"),
        (seconds(3.41), "3.4s"),
        (seconds(200.0), "3:20"),
        (seconds(None), "-"),
        (clock(12.0), "0:12"),
        (clock(3725.0), "1:02:05"),
        (clock(190_000.0), "2d04h"),
        (percent(0.613), "61 %"),
    ],
)
def test_numbers_read_as_people_write_them(said: str, wanted: str) -> None:
    """Each size of number has its unit."""
    assert said == wanted


@given(st.floats(0, 1e15, allow_nan=False))
def test_numbers_fit_their_columns(value: float) -> None:
    """No number is wider than the column that it stands in."""
    assert len(short_bytes(value)) <= 5 or value > 1e15
    assert len(short_count(min(value, 9e11))) <= 5
    assert len(rate(min(value, 9e11))) <= 5
    assert len(seconds(min(value, 8e6))) <= 7
