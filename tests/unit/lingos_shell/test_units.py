"""Numbers as people read them."""

from __future__ import annotations

import pytest

from lingos_shell.units import bytes_text, count_text, duration_text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (98_362_432, "93.8 MiB"), (5e12, "4.5 TiB")],
)
def test_sizes(count: float, text: str) -> None:
    """Sizes have binary units."""
    assert bytes_text(count) == text


@pytest.mark.parametrize(("count", "text"), [(7, "7"), (134_515_008, "134.5 M"), (7e9, "7.0 B")])
def test_counts(count: float, text: str) -> None:
    """Counts have decimal suffixes."""
    assert count_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"),
        (3.24, "3.2 s"),
        (247, "4 m 07 s"),
        (7500, "2 h 05 m"),
        (273_600, "3 d 04 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Durations have their two largest units."""
    assert duration_text(seconds) == text
