"""A table of things with a filter line and an order, for any screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from lingos_shell.tui.scheduler.arrange import Arranger, TableState
from lingos_shell.tui.scheduler.columns import Section
from lingos_shell.tui.scheduler.grid import Grid


class Listing(Vertical):
    """Shows the items that it is given; what is selected stays selected."""

    HELP_TITLE = "The list"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f4,slash,backslash", "filter", "filter", id="list.filter",
                tooltip="Show only rows that hold a text"),
        Binding("f6,greater_than_sign,less_than_sign", "sort", "sort", id="list.sort",
                tooltip="Choose the order"),
        Binding("I", "invert", "", show=False, id="list.invert", tooltip="Turn the order round"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    Listing { height: 1fr; padding: 0 1; }
    Listing Input { display: none; height: 1; border: none; padding: 0; background: $surface; }
    Listing Input.open { display: block; }
    """

    class Chosen(Message):
        """Raised when another row is selected."""

        def __init__(self, listing: Listing, key: Hashable) -> None:
            super().__init__()
            self.listing, self.key = listing, key

    class Opened(Chosen):
        """Raised when a row was double-clicked."""

    class Changed(Message):
        """Raised when other rows are wanted, or in another order."""

    def __init__(
        self,
        section: Section[Any],
        *,
        follows: bool = False,
        now: Callable[[], float] = time.monotonic,
        **widget: Any,
    ) -> None:
        """`follows`: the last row is selected until another one is."""
        super().__init__(**widget)
        self.section = section
        self.follows = follows
        self._now = now
        self._arranger = Arranger(section)
        self._items: Sequence[Any] = ()
        self.state = TableState(section.sort)

    def compose(self) -> ComposeResult:
        """The table, the filter line below."""
        yield Grid(self.section, id=f"{self.id}-grid", name=f"table of {self.section.title}")
        yield Input(placeholder="filter: type, Enter keeps, Esc leaves", compact=True)

    @property
    def grid(self) -> Grid:
        """The table."""
        return self.query_one(Grid)

    @property
    def selected(self) -> Any:
        """The selected item; None when there is none."""
        row = self.grid.selected
        return None if row is None else row.item

    def on_resize(self) -> None:
        """Other rows are in sight: the selected one is to be among them."""
        self.call_after_refresh(self.redraw)

    def put(self, items: Sequence[Any]) -> None:
        """Show these items from now on."""
        self._items = items
        self.redraw()

    def redraw(self) -> None:
        """Arrange and draw anew; nothing while the screen is put together or taken down."""
        if not self.query(Grid):
            return
        rows = self._arranger.arrange(self._items, self.state, self._now())
        if self.follows and rows:
            self.state = replace(self.state, cursor=rows[-1].key, is_following=True)
        empty = f"nothing matches {self.state.filter!r}" if self.state.filter else ""
        self.grid.show(self.section, rows, self.state, empty or self.section.empty)

    def change(self, **changes: Any) -> None:
        """Change what was chosen about the table, and draw it."""
        self.state = replace(self.state, **changes)
        self.redraw()
        self.post_message(self.Changed())

    @on(Grid.Chosen)
    def _keep_cursor(self, event: Grid.Chosen) -> None:
        event.stop()
        rows = self.grid.rows
        is_last = bool(rows) and event.key == rows[-1].key
        if self.follows and not is_last and event.key != self.state.cursor:
            self.follows = False
        self.state = replace(self.state, cursor=event.key, is_following=self.follows)
        if self.grid.has_focus:
            self.app.cursor_position = self.grid.cursor_offset()
        self.post_message(self.Chosen(self, event.key))

    @on(Grid.Opened)
    def _open_row(self, event: Grid.Opened) -> None:
        event.stop()
        self.post_message(self.Opened(self, event.key))

    @on(Grid.HeadClicked)
    def _sort_by_head(self, event: Grid.HeadClicked) -> None:
        event.stop()
        self.sort_by(event.column)

    def sort_by(self, column: str) -> None:
        """Order by a column; again: the other way round."""
        self.state = self.state.sorted_by(self.section, column)
        self.redraw()

    @work(exclusive=True, group="ask")
    async def action_sort(self) -> None:
        """Ask for the column that orders."""
        from lingos_shell.tui.dialogs import Pick

        options = [(column.name, column.about) for column in self.section.columns]
        picked = await self.app.push_screen_wait(Pick("Sort by", options, chosen=self.state.sort))
        if picked is not None:
            self.sort_by(picked)

    def action_invert(self) -> None:
        """Turn the order round."""
        self.change(is_descending=not self.state.is_descending)

    # The filter line

    def action_filter(self) -> None:
        """Ask for a text; only rows that hold it are shown."""
        line = self.query_one(Input)
        line.value = self.state.filter
        line.add_class("open")
        line.focus()

    @on(Input.Changed)
    def _filter(self, event: Input.Changed) -> None:
        event.stop()
        self.change(filter=event.value)

    @on(Input.Submitted)
    def _keep_filter(self, event: Input.Submitted) -> None:
        event.stop()
        self._close_filter()

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the filter line and drops the filter."""
        line = self.query_one(Input)
        if event.key == "escape" and line.has_focus:
            event.stop()
            event.prevent_default()
            line.value = ""
            self.change(filter="")
            self._close_filter()

    def _close_filter(self) -> None:
        self.query_one(Input).remove_class("open")
        self.grid.focus()
