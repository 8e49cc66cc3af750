"""The scheduler pane: who runs, who waits, where memory went; and acting on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.scheduler.acting import Acting
from lingos_shell.tui.scheduler.arrange import Placed
from lingos_shell.tui.scheduler.grid import Grid
from lingos_shell.tui.scheduler.headline import graph_lines, headline
from lingos_shell.tui.scheduler.keys import pane_bindings
from lingos_shell.tui.scheduler.model import SchedulerModel
from lingos_shell.tui.scheduler.overview import overview, tab_spans
from lingos_shell.tui.scheduler.sections import SECTIONS
from lingos_shell.tui.spans import Line, Span, fit_line, width_of

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot

TALL, MIDDLE = 30, 16
"""Heights from which on there are graphs and an overview, and a headline of more than a line."""
GRAPH_ROWS = 3


class SchedulerPane(Acting, Vertical):
    """Headline, graphs, tabs and the open table."""

    BINDINGS: ClassVar[list[BindingType]] = [*pane_bindings(typing=False)]
    DEFAULT_CSS = """
    SchedulerPane { background: $background; padding: 0 1; }
    SchedulerPane #graphs { margin-top: 1; display: none; }
    SchedulerPane.tall #graphs { display: block; }
    SchedulerPane #tabs { margin-top: 1; }
    SchedulerPane.short #tabs { margin-top: 0; }
    SchedulerPane #overview { margin-top: 1; display: none; }
    SchedulerPane.tall #overview { display: block; }
    SchedulerPane #ask { display: none; height: 1; border: none; padding: 0; background: $surface; }
    SchedulerPane #ask.open { display: block; }
    """

    def __init__(
        self, model: SchedulerModel, *, now: Callable[[], float] = time.monotonic, **widget: Any
    ) -> None:
        super().__init__(**widget)
        self.model = model
        self._now = now
        self._asks_for = ""

    def compose(self) -> ComposeResult:
        """From the devices down to the table."""
        yield SpanLines(id="headline")
        yield SpanLines(id="graphs")
        yield SpanLines(id="tabs")
        yield Grid(self.model.section, id="grid", name="table of the scheduler")
        yield Input(id="ask", compact=True)
        yield SpanLines(id="overview")

    def on_mount(self) -> None:
        """Draw what is known already."""
        self.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Height decides what is shown beside the table."""
        self.set_class(event.size.height >= TALL, "tall")
        self.set_class(event.size.height < MIDDLE, "short")
        self.redraw()

    @property
    def grid(self) -> Grid:
        """The open table."""
        return self.query_one(Grid)

    @property
    def rows(self) -> list[Placed]:
        """The rows that are shown, in order."""
        return list(self.grid.rows)

    # Drawing

    def redraw(self) -> None:
        """Draw the model's picture; unchanged lines and cells are not touched.

        Nothing while the pane is put together or taken down: a snapshot comes whenever it likes.
        """
        if not (self.is_attached and self.query("#overview")):
            return
        model, mono = self.model, self.app.no_color
        height = self.size.height
        snapshot = model.shown
        lines = self.query_one("#headline", SpanLines)
        if snapshot is None:
            lines.show(lambda width: [fit_line((("waiting for the kernel …", "dim"),), width)])
        else:
            lines.show(lambda width: headline(snapshot, width, mono=mono, is_brief=height < MIDDLE))
            if height >= TALL:
                self.query_one("#graphs", SpanLines).show(
                    lambda width: graph_lines(model.history, width, GRAPH_ROWS)
                )
                self.query_one("#overview", SpanLines).show(
                    lambda width: overview(snapshot, model.open_name, width)
                )
        self.query_one("#tabs", SpanLines).show(lambda width: [self._tabs(snapshot, width)])
        self.redraw_table()

    def redraw_table(self) -> None:
        """Draw the open table alone."""
        rows = self.model.rows(self._now())
        section, state = self.model.section, self.model.state
        empty = f"nothing matches {state.filter!r}" if state.filter else section.empty
        self.grid.show(section, rows, state, empty if self.model.shown else "")

    def _tabs(self, snapshot: Snapshot | None, width: int) -> Line:
        spans: list[Span] = []
        for _, tab in tab_spans(snapshot, self.model.open_name):
            spans.extend(tab)
        state = self.model.state
        notes = [
            ("frozen", self.model.is_frozen),
            ("tree", state.is_tree),
            ("follow", state.is_following),
            (f"filter: {state.filter}", bool(state.filter)),
            (f"{len(state.tagged)} tagged", bool(state.tagged)),
        ]
        right: list[Span] = [(f" {text} ", "accent") for text, is_on in notes if is_on]
        gap = width - width_of(tuple(spans)) - width_of(tuple(right))
        return fit_line((*spans, (" " * max(gap, 1), "text"), *right), width)

    # Tables

    def action_section(self, number: int) -> None:
        """Open a table by its number."""
        self.model.open_name = SECTIONS[number].name
        self.redraw()

    def action_next_section(self) -> None:
        """Open the next table."""
        self._step_section(1)

    def action_previous_section(self) -> None:
        """Open the table before."""
        self._step_section(-1)

    def _step_section(self, by: int) -> None:
        names = [section.name for section in SECTIONS]
        self.action_section((names.index(self.model.open_name) + by) % len(names))

    def on_click(self, event: events.Click) -> None:
        """A click on a tab opens its table."""
        tabs = self.query_one("#tabs", SpanLines)
        if event.widget is not tabs:
            return
        left = event.get_content_offset_capture(tabs).x
        for number, (_, spans) in enumerate(tab_spans(self.model.shown, self.model.open_name)):
            left -= width_of(spans)
            if left < 0:
                self.action_section(number)
                return

    @on(Grid.Chosen)
    def keep_cursor(self, event: Grid.Chosen) -> None:
        """Remember the selected row for the next picture."""
        event.stop()
        self.model.change(cursor=event.key)
        if self.grid.has_focus:
            self.app.cursor_position = self.grid.cursor_offset()

    @on(Grid.HeadClicked)
    def sort_by_head(self, event: Grid.HeadClicked) -> None:
        """Order by the clicked column."""
        event.stop()
        self.model.sort_by(event.column)
        self.redraw()

    @on(Grid.Opened)
    async def open_row(self, event: Grid.Opened) -> None:
        """A double click is Enter."""
        event.stop()
        self.action_details()

    # Search and filter: one input line below the table

    def action_search(self) -> None:
        """Ask for a text and go to the next row that holds it; again: one further."""
        line = self.query_one("#ask", Input)
        if self._asks_for == "search" and line.has_focus:
            self._search(line.value, stay=False)
        else:
            self._ask("search", "")

    def action_filter(self) -> None:
        """Ask for a text; only rows that hold it are shown. Empty: all."""
        self._ask("filter", self.model.state.filter)

    def _ask(self, what: str, text: str) -> None:
        self._asks_for = what
        line = self.query_one("#ask", Input)
        line.placeholder = f"{what}: type, Enter keeps, Esc leaves"
        line.value = text
        line.add_class("open")
        line.focus()

    @on(Input.Changed, "#ask")
    def asked(self, event: Input.Changed) -> None:
        """Search and filter while it is typed."""
        event.stop()
        if self._asks_for == "filter":
            self.model.change(filter=event.value)
            self.redraw()
        elif event.value:
            self._search(event.value, stay=True)

    def _search(self, text: str, *, stay: bool) -> None:
        rows, cursor = self.rows, self.model.state.cursor
        before: Any = cursor
        if stay:  # the selected row itself may match
            places = [row.key for row in rows]
            place = places.index(cursor) if cursor in places else 0
            before = places[place - 1] if place else None
        found = self.model.find(rows, text, before)
        if found is not None:
            self.grid.cursor = found

    @on(Input.Submitted, "#ask")
    def keep_answer(self, event: Input.Submitted) -> None:
        """Enter: a search goes on to the next match, a filter stays."""
        event.stop()
        if self._asks_for == "search" and event.value:
            self._search(event.value, stay=False)
            return
        self.close_ask()

    def close_ask(self) -> None:
        """Close the input line; keys go to the table."""
        self.query_one("#ask", Input).remove_class("open")
        self.grid.focus()

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the input line; a filter that was being typed is dropped."""
        line = self.query_one("#ask", Input)
        if event.key == "escape" and line.has_focus:
            event.stop()
            if self._asks_for == "filter":
                self.model.change(filter="")
                self.redraw()
            self.close_ask()
