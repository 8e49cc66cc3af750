"""Tiers below the device: what the ledger asks of them. Pages go down when they are evicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class LowerTiers(Protocol):
    """Places for pages that the device has no room for; found by key (`memory.prefix_keys`)."""

    def is_spill_cheaper(self) -> bool:
        """Whether a page had better go down, and up again, than be computed again."""

    def lower(self, keys: Sequence[bytes], pages: Sequence[int], priority: int) -> None:
        """Take in consecutive pages that are about to be freed, if that is worth its time."""

    def find(self, keys: Sequence[bytes], priority: int) -> int:
        """How many of the first of these pages are here and cheaper to fetch than to compute."""

    def restore(self, keys: Sequence[bytes], pages: Sequence[int]) -> int:
        """Fill device pages with what `find` found; how many of the first could be read."""

    def clear(self) -> None:
        """Forget everything."""

    def check_integrity(self) -> None:
        """Assert that the tiers' books are right."""
