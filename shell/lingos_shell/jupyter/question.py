"""What a run asks the person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """A call wants the person's yes; the cell's thread asks and answers."""

    name: str
    arguments: Mapping[str, Any]
    answer: Callable[[bool], None]
