"""What a queue looks like at one moment; the snapshot takes these fields as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueState:
    """One queue; the fields of `telemetry.snapshot.QueueRow`, in its order."""

    name: str
    depth: int
    bound: int
    """Most messages it may hold; 0 when it has no bound."""
    consumers: int
    """Who waits to take, or works on what was taken."""
    put_total: int
    taken_total: int
    oldest_s: float
    """Age of the oldest message."""
