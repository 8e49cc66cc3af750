"""A table's columns: how a row becomes cells, how it is ordered, what fits into a width. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lingos_shell.tui.spans import Role, Span, clean, fit

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot

T = TypeVar("T")
GAP = 1


def _plain(_item: Any) -> Role:
    return "text"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column; `width` 0 takes what the others leave, at least `MIN_FLEXIBLE` cells."""

    name: str
    about: str
    """For help and screen readers."""
    width: int
    text: Callable[[T], str]
    order: Callable[[T], Any]
    right: bool = False
    role: Callable[[T], Role] = _plain
    keep: int = 0
    """When cells are short the columns with the lowest number fall away first."""
    is_volatile: bool = False
    """Changes all the time: rows ordered by it move every few seconds only."""
    is_descending: bool = False
    """Which way it is ordered when chosen."""


MIN_FLEXIBLE = 18


@dataclass(frozen=True, slots=True)
class Section(Generic[T]):
    """One table of the pane: what it lists and how."""

    name: str
    title: str
    columns: tuple[Column[T], ...]
    items: Callable[[Snapshot], Sequence[T]]
    key: Callable[[T], Hashable]
    words: Callable[[T], str]
    """What search and filter look in."""
    sort: str
    """Name of the column that orders it at first."""
    parent: Callable[[T], Hashable] | None = None
    """Key of the row above in the tree; None: there is no tree."""
    tree_column: str = ""
    empty: str = "nothing here"

    def column(self, name: str) -> Column[T]:
        """The column of that name; raises `KeyError`."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


Layout = tuple[tuple[Column[Any], int], ...]
"""The columns that are shown, with their widths."""


def lay_out(columns: Iterable[Column[Any]], width: int) -> Layout:
    """The columns that fit into `width` cells, in their order; the flexible one gets the rest."""
    shown = list(columns)
    while len(shown) > 1 and _least(shown) > width:
        shown.remove(min(shown, key=lambda column: column.keep))
    rest = width - _least(shown)
    return tuple((column, column.width or max(MIN_FLEXIBLE + rest, 1)) for column in shown)


def _least(columns: Sequence[Column[Any]]) -> int:
    return sum(column.width or MIN_FLEXIBLE for column in columns) + GAP * (len(columns) - 1)


def cells(layout: Layout, item: Any, prefixes: Mapping[str, str]) -> tuple[Span, ...]:
    """One span per shown column, each exactly as wide as its column (without the gaps).

    `prefixes`: text that goes before a column's own, by its name (the branches of a tree).
    """
    spans = []
    for column, width in layout:
        text = clean(column.text(item))
        if prefixes and column.name in prefixes:
            text = prefixes[column.name] + text
        spans.append((fit(text, width, right=column.right), column.role(item)))
    return tuple(spans)
