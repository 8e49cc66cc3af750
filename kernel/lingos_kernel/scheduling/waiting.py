"""The queue of waiting work, kept in a policy's order."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Generic, TypeVar

from lingos_kernel.scheduling.policy import Policy, Rank, Work

W = TypeVar("W", bound=Work)


class WaitingQueue(Generic[W]):
    """Sorted by rank at all times: adding and removing cost a binary search, reading nothing."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._order: list[tuple[Rank, str]] = []
        self._work: dict[str, tuple[Rank, W]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, work: W) -> bool:
        return work.key in self._work

    def __iter__(self) -> Iterator[W]:
        """The next one first."""
        return (self._work[key][1] for _, key in self._order)

    def add(self, work: W) -> None:
        """Enter work at its rank."""
        assert work.key not in self._work, f"{work.key} waits already"
        rank = self._policy.rank(work)
        self._work[work.key] = (rank, work)
        bisect.insort(self._order, (rank, work.key))

    def remove(self, work: W) -> None:
        """Take work out, wherever it stands."""
        rank, _ = self._work.pop(work.key)
        del self._order[bisect.bisect_left(self._order, (rank, work.key))]

    def rerank(self) -> None:
        """Order everything anew; for policies whose ranks change while work waits."""
        self._work = {key: (self._policy.rank(work), work) for key, (_, work) in self._work.items()}
        self._order = sorted((rank, key) for key, (rank, _) in self._work.items())
