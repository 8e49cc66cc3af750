"""What every tier of KV pages below the device can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Demote = Callable[[bytes, Tensor, int], None]
"""Takes in a page that must leave: its key, its bytes (valid during the call), its priority."""


class Tier(Protocol):
    """Keeps pages as rows of bytes (uint8 [page_bytes] in host memory) by key."""

    name: str
    outlives_engine: bool
    off_reason: str
    """Why it takes and gives nothing; empty while it works."""

    def __contains__(self, key: bytes) -> bool:
        """Whether the page is here."""

    def __len__(self) -> int:
        """Pages that are here."""

    @property
    def total_bytes(self) -> int:
        """What it may take."""

    def put(self, key: bytes, row: Tensor, priority: int, demote: Demote) -> bool:
        """Take in a page that is not here; False when it cannot, or all here is more urgent."""

    def get(self, key: bytes) -> Tensor | None:
        """A page that is here, valid until the next `put`; None when it cannot be read."""

    def touch(self, key: bytes, priority: int) -> None:
        """Note that a page that is here was used by work of this priority."""

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all that was put is where it shall be, or no longer than that."""

    def ranked(self) -> list[tuple[bytes, int]]:
        """All pages with their priorities, the most urgent and most recently used first."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Write what is not written yet, and leave."""

    def check_integrity(self) -> None:
        """Assert that the books are right."""
