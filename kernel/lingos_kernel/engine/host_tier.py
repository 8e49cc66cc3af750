"""KV pages in host memory: what a GPU has no room for."""

from __future__ import annotations

import torch
from torch import Tensor

from lingos_kernel.engine.tier import Demote
from lingos_kernel.memory.tier_index import TierIndex

SLAB_BYTES = 64 << 20
"""Memory is taken in pieces of about this size, as pages come down."""


class HostTier:
    """Rows of slabs, pinned where a GPU copies from them."""

    name = "host"
    outlives_engine = False

    def __init__(self, *, page_bytes: int, limit_bytes: int, is_pinned: bool) -> None:
        self.off_reason = ""
        self._page_bytes = page_bytes
        self._is_pinned = is_pinned
        self._index = TierIndex(limit_bytes // page_bytes)
        self._slab_pages = max(min(SLAB_BYTES // page_bytes, self._index.slots), 1)
        self._slabs: list[Tensor] = []

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def total_bytes(self) -> int:
        """What it may take."""
        return self._index.slots * self._page_bytes

    def put(self, key: bytes, row: Tensor, priority: int, demote: Demote) -> bool:
        """Copy a page in; who must leave for it is demoted first."""
        placed = self._index.put(key, priority)
        if placed is None:
            return False
        target = self._row(placed.entry.slot)
        if placed.evicted:
            demote(placed.evicted.key, target, placed.evicted.priority)
        target.copy_(row)
        return True

    def get(self, key: bytes) -> Tensor | None:
        """The page's row."""
        entry = self._index.get(key)
        return None if entry is None else self._row(entry.slot)

    def touch(self, key: bytes, priority: int) -> None:
        """Note a use."""
        self._index.touch(key, priority)

    def flush(self, timeout_s: float | None = None) -> None:
        """Nothing to wait for: `put` has copied it."""

    def ranked(self) -> list[tuple[bytes, int]]:
        """All pages with their priorities, the most urgent and most recently used first."""
        entries = sorted(self._index, key=lambda entry: (entry.priority, -entry.used))
        return [(entry.key, entry.priority) for entry in entries]

    def clear(self) -> None:
        """Forget everything, and give the memory back."""
        self._index.clear()
        self._slabs.clear()

    def close(self) -> None:
        """Nothing of it outlives the process."""
        self.clear()

    def check_integrity(self) -> None:
        """Assert that the books are right."""
        self._index.check_integrity()

    def _row(self, slot: int) -> Tensor:
        slab, row = divmod(slot, self._slab_pages)
        while len(self._slabs) <= slab:
            size = (self._slab_pages, self._page_bytes)
            self._slabs.append(torch.empty(size, dtype=torch.uint8, pin_memory=self._is_pinned))
        return self._slabs[slab][row]
