"""Pieces of work as the scheduler sees them, made by hand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(eq=False)
class Item:
    """A view of a sequence; a test may set what an engine would change."""

    key: str
    priority: int = 0
    arrival_s: float = 0.0
    order: int = 0
    deadline_s: float | None = None
    program: str = ""
    tenant: str = ""
    served_tokens: int = 0
    remaining: int = 1
    held_pages: int = 0
    wanted_pages: int = 0
    needed_pages: int = 1


@pytest.fixture(scope="session")
def item() -> type[Item]:
    """`item(key, ...)` makes a piece of work."""
    return Item
