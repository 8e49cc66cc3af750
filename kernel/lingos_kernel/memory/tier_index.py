"""Which pages lie in which slots of a tier below the device, and which goes first. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Entry:
    """A page in a tier."""

    key: bytes
    slot: int
    priority: int
    used: int
    """Rises with every use; also names this entry's valid place in the heap."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a page goes, and which page had to leave for it."""

    entry: Entry
    evicted: Entry | None


class TierIndex:
    """A fixed number of slots; a full tier gives up its least urgent, least recently used page.

    Invariant: every slot below `slots` is free or has exactly one entry.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._entries: dict[bytes, Entry] = {}
        self._free: list[int] = []
        self._fresh = 0
        """Slots from here on were never used."""
        self._heap: list[tuple[int, int, bytes]] = []
        self._tick = 0

    def __contains__(self, key: bytes) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, key: bytes) -> Entry | None:
        """The page's entry, if it is here."""
        return self._entries.get(key)

    def touch(self, key: bytes, priority: int) -> Entry:
        """Note that the page was used just now by work of this priority."""
        entry = self._entries[key]
        self._tick += 1
        entry.priority, entry.used = priority, self._tick
        self._offer(entry)
        return entry

    def put(self, key: bytes, priority: int) -> Placed | None:
        """A slot for a page that is not here; None when all that is here is more urgent."""
        assert key not in self._entries, "the page is here already"
        evicted = None
        if len(self._entries) == self.slots:
            evicted = self._least()
            if evicted is None or evicted.priority < priority:
                return None
            self.remove(evicted.key)
        entry = Entry(key, self._take_slot(), priority, 0)
        self._entries[key] = entry
        self.touch(key, priority)
        return Placed(entry, evicted)

    def fill(self, left: Iterable[tuple[bytes, int, int]]) -> None:
        """Take over (key, slot, priority) of an earlier life, the least recently used first.

        The index must be empty. What has no slot of its own here is passed over.
        """
        assert not self._fresh, "only an unused index can be filled"
        taken: set[int] = set()
        for key, slot, priority in left:
            if key not in self and slot not in taken and 0 <= slot < self.slots:
                taken.add(slot)
                self._entries[key] = Entry(key, slot, priority, 0)
                self.touch(key, priority)
        self._fresh = max(taken, default=-1) + 1
        self._free = [slot for slot in range(self._fresh) if slot not in taken]

    def remove(self, key: bytes) -> None:
        """Forget a page; its slot is free."""
        self._free.append(self._entries.pop(key).slot)

    def clear(self) -> None:
        """Forget all pages."""
        self._entries.clear()
        self._free.clear()
        self._heap.clear()
        self._fresh = 0

    def check_integrity(self) -> None:
        """Assert that no slot is lost or doubled."""
        taken = [entry.slot for entry in self]
        assert sorted(taken + self._free) == list(range(self._fresh)), "a slot is lost or doubled"
        assert self._fresh <= self.slots
        assert all(entry.key == key for key, entry in self._entries.items())
        valid = {(entry.used, entry.key) for entry in self}
        assert valid <= {(used, key) for _, used, key in self._heap}, "an entry cannot be evicted"

    def _take_slot(self) -> int:
        if self._free:
            return self._free.pop()
        self._fresh += 1
        return self._fresh - 1

    def _least(self) -> Entry | None:
        """Who gives way first."""
        while self._heap:
            _, used, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.used == used:
                return entry
            heapq.heappop(self._heap)
        return None

    def _offer(self, entry: Entry) -> None:
        heapq.heappush(self._heap, (-entry.priority, entry.used, entry.key))
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [(-e.priority, e.used, e.key) for e in self]
            heapq.heapify(self._heap)
