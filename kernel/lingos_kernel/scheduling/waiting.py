"""The queue of waiting work, kept in a policy's order."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from lingos_kernel.scheduling.policy import Policy, Rank, Work

W = TypeVar("W", bound=Work)
Place = tuple[Rank, str]
"""Rank and key of a piece of work: no two are equal."""


class WaitingQueue(Generic[W]):
    """Knows who is next at all times, though ranks grow as lanes are served.

    Each lane is a list in order. A heap holds the place that each lane's head had when somebody
    last looked: as places only grow, the top is next once its place is found unchanged. So a step
    that serves a lane costs one look at its head, however many wait behind it.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._lanes: dict[str, list[W]] = {}
        self._keys: set[str] = set()
        self._heap: list[tuple[Place, str]] = []
        self._valid: dict[str, Place] = {}
        """The one entry of each lane in the heap that counts; never above its head's place."""

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, work: W) -> bool:
        return work.key in self._keys

    def __iter__(self) -> Iterator[W]:
        """The next one first, as if each were served its known tokens before the one after it."""
        return self.after(())

    def after(self, prefilling: Iterable[W]) -> Iterator[W]:
        """As by itself, when those who compute their prompts have been served them, too.

        What its lane was promised with a place counts for the lane from then on: else it would
        get all places that come free until the first prompt is computed.
        """
        self._settle_top()
        if len(self._lanes) == 1:
            yield from next(iter(self._lanes.values())).copy()
            return
        heap, valid = self._heap.copy(), self._valid.copy()
        taken: dict[str, tuple[int, int]] = {}  # of each lane: members, and tokens before the next
        for work in prefilling:
            lane = self._policy.lane(work)
            taken[lane] = 0, taken.get(lane, (0, 0))[1] + work.remaining
        while heap:
            place, lane = heapq.heappop(heap)
            index, ahead_tokens = taken.get(lane, (0, 0))
            members = self._lanes.get(lane, ())
            if valid.get(lane) != place or index == len(members):
                continue
            work = members[index]
            valid[lane] = self._place(work, ahead_tokens)
            if valid[lane] == place:
                taken[lane] = index + 1, ahead_tokens + work.remaining
                yield work
            heapq.heappush(heap, (valid[lane], lane))

    def add(self, work: W) -> None:
        """Enter work at its place."""
        assert work.key not in self._keys, f"{work.key} waits already"
        self._keys.add(work.key)
        lane = self._policy.lane(work)
        members = self._lanes.setdefault(lane, [])
        insort(members, work, key=self._place)
        if members[0] is work:
            self._enter(lane)

    def remove(self, work: W) -> None:
        """Take work out, wherever it stands."""
        self._keys.remove(work.key)
        lane = self._policy.lane(work)
        members = self._lanes[lane]
        index = bisect_left(members, self._place(work), key=self._place)
        if index == len(members) or members[index] is not work:
            index = members.index(work)  # a policy that does not keep to its lanes
        del members[index]
        if not members:
            del self._lanes[lane], self._valid[lane]

    def set_policy(self, policy: Policy) -> None:
        """Order everything by another policy, which knows of all this work already."""
        everybody = [work for members in self._lanes.values() for work in members]
        self._policy = policy
        for collection in (self._lanes, self._keys, self._heap, self._valid):
            collection.clear()
        for work in everybody:
            self.add(work)

    def _place(self, work: W, ahead_tokens: int = 0) -> Place:
        return self._policy.rank(work, ahead_tokens), work.key

    def _enter(self, lane: str) -> None:
        """Note where a lane's head stands."""
        if len(self._heap) > 2 * len(self._lanes) + 64:
            self._heap = [(place, lane) for lane, place in self._valid.items()]
            heapq.heapify(self._heap)
        self._valid[lane] = self._place(self._lanes[lane][0])
        heapq.heappush(self._heap, (self._valid[lane], lane))

    def _settle_top(self) -> None:
        """Make the heap's top the place that its lane's head has now."""
        while self._heap:
            place, lane = self._heap[0]
            if self._valid.get(lane) == place:
                now = self._place(self._lanes[lane][0])
                if now == place:
                    return
                self._valid[lane] = now
                heapq.heapreplace(self._heap, (now, lane))
            else:
                heapq.heappop(self._heap)
