"""Which rows a table shows and in which order: filter, tree, sorting that does not jump. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lingos_shell.tui.scheduler.columns import Section

RESORT_S = 2.0
"""Rows ordered by something volatile keep their places for so long."""


@dataclass(frozen=True, slots=True)
class TableState:
    """What a person has chosen about a table."""

    sort: str
    is_descending: bool = False
    filter: str = ""
    is_tree: bool = False
    tagged: frozenset[Hashable] = frozenset()
    cursor: Hashable = None
    """Key of the selected row."""
    is_following: bool = False

    def sorted_by(self, section: Section[Any], name: str) -> TableState:
        """Ordered by that column; choosing it again turns the order round."""
        if name == self.sort:
            return replace(self, is_descending=not self.is_descending)
        descending = section.column(name).is_descending
        return replace(self, sort=name, is_descending=descending, is_tree=False)

    def toggled(self, keys: Sequence[Hashable]) -> TableState:
        """With these rows tagged, or untagged when all of them are."""
        chosen = frozenset(keys)
        is_tagged = chosen <= self.tagged
        return replace(self, tagged=self.tagged - chosen if is_tagged else self.tagged | chosen)

    def targets(self) -> tuple[Hashable, ...]:
        """What an action acts on: the tagged rows, else the selected one."""
        if self.tagged:
            return tuple(sorted(self.tagged, key=repr))
        return () if self.cursor is None else (self.cursor,)


@dataclass(frozen=True, slots=True)
class Placed:
    """A row in its place."""

    key: Hashable
    item: Any
    branch: str = ""
    """The tree's lines before it."""


@dataclass(slots=True)
class Arranger:
    """Orders the rows of one section from one snapshot to the next."""

    section: Section[Any]
    _ranks: dict[Hashable, int] = field(default_factory=dict)
    _sorted_at_s: float = float("-inf")
    _sorted_how: tuple[str, bool] | None = None

    def arrange(self, items: Sequence[Any], state: TableState, now_s: float) -> list[Placed]:
        """The rows to show, in order; `now_s` is any clock that only goes forward."""
        key = self.section.key
        ordered = self._in_order(items, state, now_s)
        if state.filter:
            wanted = state.filter.casefold()
            words = self.section.words
            ordered = [item for item in ordered if wanted in words(item).casefold()]
        if state.is_tree and self.section.parent is not None:
            return in_tree(ordered, key, self.section.parent)
        return [Placed(key(item), item) for item in ordered]

    def _in_order(self, items: Sequence[Any], state: TableState, now_s: float) -> list[Any]:
        column = self.section.column(state.sort)
        how = (state.sort, state.is_descending)
        key = self.section.key
        is_settled = (
            column.is_volatile and how == self._sorted_how and now_s - self._sorted_at_s < RESORT_S
        )
        if is_settled:
            ranks, last = self._ranks, len(self._ranks)
            return sorted(items, key=lambda item: ranks.get(key(item), last))
        # By the places of before first: equal rows stay where they are.
        by_place = sorted(items, key=lambda item: self._ranks.get(key(item), len(self._ranks)))
        ordered = sorted(by_place, key=column.order, reverse=state.is_descending)
        self._ranks = {key(item): place for place, item in enumerate(ordered)}
        self._sorted_at_s, self._sorted_how = now_s, how
        return ordered


def in_tree(items: Sequence[Any], key: Any, parent: Any) -> list[Placed]:
    """Each row after its parent, siblings in the given order; orphans stand at the root."""
    present = {key(item) for item in items}
    children: dict[Hashable, list[Any]] = {}
    for item in items:
        above = parent(item)
        is_root = above not in present or above == key(item)
        children.setdefault(None if is_root else above, []).append(item)
    placed: list[Placed] = []
    _place(children, None, "", placed, key)
    return placed


def _place(
    children: Mapping[Hashable, list[Any]],
    above: Hashable,
    lines: str,
    placed: list[Placed],
    key: Any,
) -> None:
    """Append the rows below `above`, without recursion: chains of processes may be long."""
    stack = [(above, lines, iter(children.get(above, ())), len(children.get(above, ())))]
    while stack:
        parent, indent, rows, left = stack.pop()
        item = next(rows, None)
        if item is None:
            continue
        stack.append((parent, indent, rows, left - 1))
        is_last = left == 1
        is_root = parent is None
        branch = "" if is_root else indent + ("└─ " if is_last else "├─ ")
        placed.append(Placed(key(item), item, branch))
        below = children.get(key(item), ())
        deeper = "" if is_root else indent + ("   " if is_last else "│  ")
        stack.append((key(item), deeper, iter(below), len(below)))
