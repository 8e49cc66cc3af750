"""Which kept pages must go when memory is short. Pure.

A hold keeps the pages of a program that is between two turns, for a limited time. It gives way
to strictly more urgent work alone, unless nothing else could go on: kept pages are worth a delay
of equals, but no standstill.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

MOST_SHARE = 0.5
"""Of all pages, at most so many are held: the rest is for those who compute."""
TENANT_SHARE = 0.75
"""Of those that may be held, at most so many for one tenant: some are left for the others."""


class Held(Protocol):
    """A hold, as decisions see it."""

    @property
    def hold_id(self) -> str:
        """Unique name."""

    @property
    def priority(self) -> int:
        """That of its process: lower is more urgent."""

    @property
    def until_s(self) -> float:
        """When it ends by itself."""


@dataclass(frozen=True, slots=True)
class HoldBounds:
    """How many pages may be held: of all tenants together, and of each."""

    pages: int
    tenant_pages: int

    @classmethod
    def of(cls, total_pages: int, tenant_share: float = TENANT_SHARE) -> HoldBounds:
        """Those of a pool; a tenant's share of 1 or more leaves it all that may be held."""
        pages = int(MOST_SHARE * total_pages)
        return cls(pages, int(min(tenant_share, 1.0) * pages))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands in line, as far as its arrival says."""

    arrival_s: float
    order: int


def to_let_go(
    held: Iterable[Held], *, needy_priority: int, is_last_resort: bool = False
) -> Held | None:
    """The hold that gives way to work of a priority; None when all are to stay.

    The least urgent goes first, of equals the one that would be kept longest. As a last resort,
    when nothing could go on otherwise, any of them goes.
    """
    yielding = [hold for hold in held if is_last_resort or hold.priority > needy_priority]
    return max(yielding, key=_dispensability, default=None)


def over_budget(held: Iterable[Held]) -> Held | None:
    """The hold to end when more is held than may be."""
    return max(held, key=_dispensability, default=None)


def _dispensability(hold: Held) -> tuple[int, float]:
    return hold.priority, hold.until_s
