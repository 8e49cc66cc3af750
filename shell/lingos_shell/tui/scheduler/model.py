"""What the scheduler pane shows now: the snapshot, and what a person chose about it. No Textual."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lingos_shell.tui.scheduler.arrange import Arranger, Placed, TableState
from lingos_shell.tui.scheduler.columns import Section
from lingos_shell.tui.scheduler.history import History
from lingos_shell.tui.scheduler.sections import SECTIONS

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot


@dataclass(slots=True)
class SchedulerModel:
    """One per program: every pane that is open shows the same."""

    latest: Snapshot | None = None
    shown: Snapshot | None = None
    """The latest snapshot, or the one at which the picture was frozen."""
    is_frozen: bool = False
    history: History = field(default_factory=History)
    open_name: str = SECTIONS[0].name
    states: dict[str, TableState] = field(
        default_factory=lambda: {s.name: TableState(s.sort) for s in SECTIONS}
    )
    _arrangers: dict[str, Arranger] = field(
        default_factory=lambda: {s.name: Arranger(s) for s in SECTIONS}
    )

    def take(self, snapshot: Snapshot) -> None:
        """A new snapshot has come; the graphs go on while the tables are frozen."""
        self.latest = snapshot
        self.history.add(snapshot)
        if not self.is_frozen:
            self.shown = snapshot

    def toggle_freeze(self) -> None:
        """Hold the picture, or let it go on."""
        self.is_frozen = not self.is_frozen
        if not self.is_frozen:
            self.shown = self.latest

    @property
    def section(self) -> Section[Any]:
        """The open table."""
        return next(section for section in SECTIONS if section.name == self.open_name)

    @property
    def state(self) -> TableState:
        """What was chosen about the open table."""
        return self.states[self.open_name]

    def change(self, **changes: Any) -> None:
        """Change what was chosen about the open table."""
        self.states[self.open_name] = replace(self.state, **changes)

    def sort_by(self, column: str) -> None:
        """Order the open table by a column; again: the other way round."""
        self.states[self.open_name] = self.state.sorted_by(self.section, column)

    def toggle_tags(self, keys: list[Hashable]) -> None:
        """Tag rows of the open table, or take their tags away."""
        self.states[self.open_name] = self.state.toggled(keys)

    def rows(self, now_s: float) -> list[Placed]:
        """The rows of the open table; tags of rows that are gone are dropped."""
        if self.shown is None:
            return []
        section = self.section
        items = section.items(self.shown)
        if self.state.tagged:
            alive = {section.key(item) for item in items}
            self.change(tagged=self.state.tagged & alive)
        return self._arrangers[section.name].arrange(items, self.state, now_s)

    def find(self, rows: list[Placed], text: str, after: Hashable) -> Hashable | None:
        """Key of the next row below `after` that holds the text, from the top again at the end."""
        wanted = text.casefold()
        places = {row.key: place for place, row in enumerate(rows)}
        start = places.get(after, -1) + 1
        for row in (*rows[start:], *rows[:start]):
            if wanted in self.section.words(row.item).casefold():
                return row.key
        return None

    def below(self, key: Hashable) -> list[Hashable]:
        """The row and all that descend from it."""
        section = self.section
        if section.parent is None or self.shown is None:
            return [key]
        items = section.items(self.shown)
        found = {key}
        grows = True
        while grows:
            more = {section.key(i) for i in items if section.parent(i) in found} - found
            found |= more
            grows = bool(more)
        return sorted(found, key=repr)
