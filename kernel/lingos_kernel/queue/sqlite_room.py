"""How much room the queues of the SQLite broker have left, for everybody and for each tenant."""

from __future__ import annotations

import sqlite3
from collections import Counter

from lingos_kernel.queue import sqlite_schema as sql
from lingos_kernel.queue.jobs import Bounds

COUNT_AGAIN_S = 1.0

Place = tuple[str, str | None]
"""A queue and a tenant; None: all of them together."""


class Room:
    """Counted once and then kept up to date; used by the writer's thread alone.

    When it seems used up it is counted again, at most once a second, since other processes may
    have ended jobs.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._left: dict[Place, int] = {}
        self._counted_s: dict[Place, float] = {}

    def forget(self) -> None:
        """A transaction was undone: what was counted may be wrong."""
        self._left.clear()

    def check(
        self, connection: sqlite3.Connection, wanted: Counter[tuple[str, str]], now: float
    ) -> None:
        """Raise `QueueFull` unless there is room for so many jobs of each (queue, tenant)."""
        totals: Counter[Place] = Counter()
        for (queue, tenant), count in wanted.items():
            totals[queue, None] += count
            totals[queue, tenant] += count
        for place, count in totals.items():
            if self._room(connection, place, count, now) < count:
                raise self._bounds.refusal(*place)

    def take(self, queue: str, tenant: str, jobs: int = 1) -> None:
        """So many jobs have come; fewer than 0: have ended."""
        for place in ((queue, None), (queue, tenant)):
            if place in self._left:
                self._left[place] -= jobs

    def _room(self, connection: sqlite3.Connection, place: Place, count: int, now: float) -> int:
        left = self._left.get(place)
        if left is None or (left < count and now - self._counted_s[place] >= COUNT_AGAIN_S):
            queue, tenant = place
            (live,) = connection.execute(sql.LIVE, {"queue": queue, "tenant": tenant}).fetchone()
            left = self._left[place] = self._bounds.of(tenant) - live
            self._counted_s[place] = now
        return left
