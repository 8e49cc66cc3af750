"""When the garbage collector runs: not before the first frame, and seldom while people type."""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 2_000, 5, 200
"""Allocations before a collection of the young; younger collections before one of the older."""


def hold() -> None:
    """Collect nothing: what a start makes stays, so looking through it finds nothing to free."""
    gc.disable()


def resume() -> None:
    """Collect again, leaving out all that is there now: it would be walked through each time."""
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    gc.enable()
