"""Which call starts next: bounds and the ready queue, decided purely (no clock, no loop)."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

from lingos_kernel.errors import QueueFull

RECENT = 64
"""Durations that the estimate of a free slot is made from."""


class Candidate(Protocol):
    """A call, as admission sees it."""

    priority: int
    pid: int

    @property
    def tenant_key(self) -> Hashable:
        """Whose share of the bounds it takes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many calls from outside may be in the pipeline. Nested calls take none of it."""

    running: int = 256
    queued: int = 1024
    per_principal: int = 1024
    """Running and queued calls of one principal; leaves room for the others."""


class Admission:
    """Slots, and the calls that wait for one, most urgent first, then in order of arrival."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.running = 0
        self._arrivals = itertools.count()
        self._waiting: dict[Candidate, int] = {}
        """Each waiting call with its number of arrival."""
        self._ready: list[tuple[int, int, Candidate]] = []
        """A heap of (priority, arrival, call); entries of calls that left or changed are stale."""
        self._held: dict[int, list[Candidate]] = {}
        """Waiting calls by the held process that they belong to."""
        self._by_principal: Counter[Hashable] = Counter()
        self._durations: deque[float] = deque(maxlen=RECENT)

    @property
    def queued(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    def enter(self, call: Candidate) -> bool:
        """Take a call in: True gives it a slot now, False a place in the queue.

        Raises `QueueFull` when a bound is reached.
        """
        bounds, key = self.bounds, call.tenant_key
        if self._by_principal[key] >= bounds.per_principal:
            raise QueueFull(
                f"{bounds.per_principal} calls of the same caller are in flight already",
                retry_after_s=self.retry_after_s(),
            )
        # A free slot means that nothing is ready: every change is followed by `next` until None.
        starts = self.running < bounds.running and call.pid not in self._held
        if not starts and len(self._waiting) >= bounds.queued:
            raise QueueFull(
                f"{len(self._waiting)} calls are waiting, as many as the queue takes",
                retry_after_s=self.retry_after_s(),
            )
        self._by_principal[key] += 1
        if starts:
            self.running += 1
        else:
            self._waiting[call] = next(self._arrivals)
            self._make_ready(call)
        return starts

    def leave(self, call: Candidate, *, run_s: float) -> None:
        """A call that entered has ended, queued or running."""
        if self._waiting.pop(call, None) is None:
            self.running -= 1
            self._durations.append(run_s)
        key = call.tenant_key
        self._by_principal[key] -= 1
        if not self._by_principal[key]:
            del self._by_principal[key]

    def next(self) -> Candidate | None:
        """The call to start now, which then holds a slot; None when none may."""
        while self._ready and self.running < self.bounds.running:
            priority, arrival, call = heapq.heappop(self._ready)
            if self._waiting.get(call) != arrival or call.priority != priority:
                continue
            if call.pid in self._held:
                self._held[call.pid].append(call)
                continue
            del self._waiting[call]
            self.running += 1
            return call
        return None

    def reorder(self, call: Candidate) -> None:
        """The priority of a call has changed."""
        if call in self._waiting:
            self._make_ready(call)

    def hold(self, pid: int) -> None:
        """Start no call of this process until `release`."""
        self._held.setdefault(pid, [])

    def release(self, pid: int) -> None:
        """Calls of this process may start again."""
        for call in self._held.pop(pid, ()):
            self.reorder(call)

    def positions(self) -> dict[Candidate, int]:
        """The place of each waiting call; 0 is next. Held ones have none."""
        ready = [call for call in self._waiting if call.pid not in self._held]
        ready.sort(key=lambda call: (call.priority, self._waiting[call]))
        return {call: place for place, call in enumerate(ready)}

    def _make_ready(self, call: Candidate) -> None:
        heapq.heappush(self._ready, (call.priority, self._waiting[call], call))

    def retry_after_s(self) -> float:
        """When a slot is expected to be free for one more call, from recent durations."""
        recent = self._durations
        mean_s = sum(recent) / len(recent) if recent else 1.0
        rounds = (len(self._waiting) + 1) / self.bounds.running
        return min(max(mean_s * rounds, 0.1), 60.0)
