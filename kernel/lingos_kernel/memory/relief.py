"""What is cheaper: keep a page, move it between tiers, or compute its tokens again. Pure sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Shortage = Literal["slots", "pages"]
Relief = Literal["keep", "spill", "drop"]

FADE = 0.9
"""What an older measurement still counts when a new one comes in."""
SECOND_LOOK = 32
"""After so many refusals a way is tried once, or a single bad measurement would close it."""


class Rate:
    """Units a second: a moving average, weighted by the time that each measurement took."""

    __slots__ = ("_amount", "_seconds")

    def __init__(self) -> None:
        self._amount = 0.0
        self._seconds = 0.0

    @property
    def per_s(self) -> float | None:
        """The rate; None as long as nothing was measured."""
        return self._amount / self._seconds if self._seconds > 0 else None

    def add(self, amount: float, seconds: float) -> None:
        """Take in a measurement; one too short for the clock says nothing."""
        if seconds > 0 and amount > 0:
            self._amount = self._amount * FADE + amount
            self._seconds = self._seconds * FADE + seconds


@dataclass(slots=True)
class Prices:
    """What moving and computing cost on this machine, as measured."""

    prefill: Rate = field(default_factory=Rate)
    """Tokens a second."""
    down: dict[str, Rate] = field(default_factory=dict)
    """Bytes a second from the device to a tier, by the tier's name."""
    up: dict[str, Rate] = field(default_factory=dict)
    """Bytes a second from a tier to the device."""
    _refusals: dict[str, int] = field(default_factory=dict)

    def compute_s(self, tokens: int) -> float | None:
        """Seconds to compute so many prompt tokens; None: not known yet."""
        rate = self.prefill.per_s
        return None if rate is None else tokens / rate

    def is_up_cheaper(self, tier: str, size: int, tokens: int) -> bool:
        """Whether bringing so many bytes up takes less time than computing their tokens.

        What was never measured counts as cheaper, and so is measured.
        """
        return self._is_cheaper(f"up {tier}", _seconds(self.up, tier, size), tokens)

    def is_round_trip_cheaper(self, tier: str, size: int, tokens: int) -> bool:
        """Whether bringing so many bytes down and up again takes less time than computing."""
        trip_s = _seconds(self.down, tier, size) + _seconds(self.up, tier, size)
        return self._is_cheaper(f"trip {tier}", trip_s, tokens)

    def _is_cheaper(self, way: str, moving_s: float, tokens: int) -> bool:
        computing_s = self.compute_s(tokens)
        if computing_s is None or moving_s < computing_s:
            self._refusals[way] = 0
            return True
        self._refusals[way] = (self._refusals.get(way, 0) + 1) % SECOND_LOOK
        return not self._refusals[way]


def _seconds(rates: dict[str, Rate], tier: str, size: int) -> float:
    rate = rates[tier].per_s if tier in rates else None
    return size / rate if rate else 0.0


def choose_relief(shortage: Shortage, *, is_trip_cheaper: bool) -> Relief:
    """What becomes of the pages of a sequence that gives way.

    When only its place is wanted they stay: that costs nothing, until pages are short as well.
    """
    if shortage == "slots":
        return "keep"
    return "spill" if is_trip_cheaper else "drop"
