"""The table widget: draws only the rows in sight, repaints only the cells that changed."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from lingos_shell.tui.lines import RoleStyles
from lingos_shell.tui.scheduler.arrange import Placed, TableState
from lingos_shell.tui.scheduler.columns import GAP, Layout, Section, cells, lay_out
from lingos_shell.tui.spans import Span, fit

MARKS = 2
"""Cells before the first column: the tag, and a gap."""
Drawn = tuple[tuple[Span, ...], bool, bool]
"""A row's cells, whether it is selected, whether it is tagged."""


class Grid(ScrollView, can_focus=True):
    """Rows of one section under a head that stays; the selected row sticks to its key."""

    HELP_TITLE = "The table"

    DEFAULT_CSS = """
    Grid { height: 1fr; overflow-x: hidden; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Row above", show=False, id="table.up"),
        Binding("down", "move(1)", "Row below", show=False, id="table.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="table.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="table.page_down"),
        Binding("home", "jump(0)", "First row", show=False, id="table.first"),
        Binding("end", "jump(-1)", "Last row", show=False, id="table.last"),
    ]
    cursor: reactive[Hashable] = reactive(None, init=False)
    """Key of the selected row."""

    class Chosen(Message):
        """Raised when another row was selected."""

        def __init__(self, grid: Grid, key: Hashable) -> None:
            super().__init__()
            self.grid, self.key = grid, key

    class Opened(Message):
        """Raised when a row was double-clicked."""

        def __init__(self, grid: Grid, key: Hashable) -> None:
            super().__init__()
            self.grid, self.key = grid, key

    class HeadClicked(Message):
        """Raised when a column's head was clicked."""

        def __init__(self, grid: Grid, column: str) -> None:
            super().__init__()
            self.grid, self.column = grid, column

    def __init__(self, section: Section[Any], **widget: Any) -> None:
        super().__init__(**widget)
        self.section = section
        self._roles = RoleStyles(self)
        self._rows: Sequence[Placed] = ()
        self._places: dict[Hashable, int] = {}
        self._place = 0
        self.empty = ""
        self._state = TableState(section.sort)
        self._layout: Layout = ()
        self._drawn: dict[int, Drawn | None] = {}
        """What is on the screen, by the line of the widget."""

    @property
    def rows(self) -> Sequence[Placed]:
        """The rows in their order."""
        return self._rows

    @property
    def selected(self) -> Placed | None:
        """The selected row."""
        place = self._places.get(self.cursor)
        return None if place is None else self._rows[place]

    def show(
        self, section: Section[Any], rows: Sequence[Placed], state: TableState, empty: str = ""
    ) -> None:
        """Draw these rows from now on; the cursor stays on its key while the key is there.

        `empty`: what to say when there are none.
        """
        if section is not self.section:
            self.section, self._layout = section, ()
            self._drawn.clear()
            self.scroll_to(y=0, animate=False)
            self.refresh()
        self._rows, self._state = rows, state
        if empty != self.empty:
            self.empty = empty
            self.refresh()
        self._places = {row.key: place for place, row in enumerate(rows)}
        self._keep_cursor(state.cursor)
        size = Size(self._inner_width, len(rows) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
        if state.is_following:
            self._reveal()
        self._repaint()

    def _keep_cursor(self, wanted: Hashable) -> None:
        """The wanted row, else what stands in its place now."""
        if wanted not in self._places:
            last = len(self._rows) - 1
            wanted = self._rows[min(self._place, last)].key if self._rows else None
        self.set_reactive(Grid.cursor, wanted)
        self._place = self._places.get(wanted, 0)
        if wanted != self._state.cursor:
            self.post_message(self.Chosen(self, wanted))

    def watch_cursor(self, key: Hashable) -> None:
        """Repaint, scroll to it, and tell."""
        self._place = self._places.get(key, 0)
        self._reveal()
        self._repaint()
        self.post_message(self.Chosen(self, key))

    # Moving

    def action_move(self, by: int) -> None:
        """Select the row so many below."""
        self._select(self._place + by)

    def action_page(self, by: int) -> None:
        """Select the row a page further."""
        self._select(self._place + by * max(self.size.height - 2, 1))

    def action_jump(self, place: int) -> None:
        """Select the first (0) or the last (-1) row."""
        self._select(place if place >= 0 else len(self._rows) - 1)

    def _select(self, place: int) -> None:
        if self._rows:
            self.cursor = self._rows[min(max(place, 0), len(self._rows) - 1)].key

    def _reveal(self) -> None:
        """Forced: rows may have come before there is a scrollbar for them."""
        top, height = self.scroll_offset.y, self.size.height - 1
        if self._place < top:
            self.scroll_to(y=self._place, animate=False, force=True, immediate=True)
        elif self._place >= top + height:
            y = self._place - height + 1
            self.scroll_to(y=y, animate=False, force=True, immediate=True)

    # Mouse

    def on_click(self, event: events.Click) -> None:
        """A row is selected (twice: opened); a head orders by its column."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            if name := self._column_at(offset.x):
                self.post_message(self.HeadClicked(self, name))
            return
        place = offset.y - 1 + self.scroll_offset.y
        if place < len(self._rows):
            self._select(place)
            if event.chain == 2:
                self.post_message(self.Opened(self, self._rows[place].key))

    def _column_at(self, x: int) -> str:
        left = MARKS
        for column, width in self._columns():
            if left <= x < left + width + GAP:
                return column.name
            left += width + GAP
        return ""

    # Drawing

    @property
    def _inner_width(self) -> int:
        return self.scrollable_content_region.width

    def _columns(self) -> Layout:
        if not self._layout:
            self._layout = lay_out(self.section.columns, self._inner_width - MARKS)
        return self._layout

    def on_resize(self) -> None:
        """Other columns fit now."""
        self._layout = ()
        self._drawn.clear()
        self.refresh()

    def notify_style_update(self) -> None:
        """Textual's hook: styles have changed."""
        super().notify_style_update()
        self._roles.clear()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """What is on the screen has moved."""
        self._drawn.clear()
        super().watch_scroll_y(old_value, new_value)

    def _repaint(self) -> None:
        """Ask for the lines that have changed, from the first to the last changed cell."""
        top = self.scroll_offset.y
        for y in range(1, self.size.height):
            new = self._row(y - 1 + top)
            old = self._drawn.get(y)
            if new != old or y not in self._drawn:
                self.refresh(self._changed(y, old, new))
                self._drawn[y] = new
        if self._drawn.get(0) != (head := (self._head(), False, False)):
            self._drawn[0] = head
            self.refresh(Region(0, 0, self.size.width, 1))

    def _changed(self, y: int, old: Drawn | None, new: Drawn | None) -> Region:
        whole = Region(0, y, self.size.width, 1)
        if old is None or new is None or old[1:] != new[1:] or len(old[0]) != len(new[0]):
            return whole
        left = MARKS
        edges = []
        for (_, width), before, after in zip(self._columns(), old[0], new[0], strict=False):
            if before != after:
                edges.append((left, left + width))
            left += width + GAP
        return Region(edges[0][0], y, edges[-1][1] - edges[0][0], 1) if edges else whole

    def _row(self, place: int) -> Drawn | None:
        if place >= len(self._rows):
            return None
        row = self._rows[place]
        prefixes = {self.section.tree_column: row.branch} if row.branch else {}
        spans = cells(self._columns(), row.item, prefixes)
        return spans, row.key == self.cursor, row.key in self._state.tagged

    def _head(self) -> tuple[Span, ...]:
        arrow = "▾" if self._state.is_descending else "▴"
        spans: list[Span] = []
        for column, width in self._columns():
            is_sorted = column.name == self._state.sort and not self._state.is_tree
            name = column.name
            if is_sorted:
                name = arrow + name if column.right else name + arrow
                name = name if len(name) <= width else name[: width - 1] + arrow
            spans.append((fit(name, width, right=column.right), "accent" if is_sorted else "label"))
        return tuple(spans)

    def render_line(self, y: int) -> Strip:
        """One line of the widget: the head, or a row."""
        width = self.size.width
        roles, base = self._roles, self.rich_style
        if y == 0:
            head = roles["head"]
            segments = [Segment(" " * MARKS, head)]
            for text, role in self._head():
                style = head + Style(color=roles[role].color) if role == "accent" else head
                segments += [Segment(text, style), Segment(" " * GAP, head)]
            return Strip(segments).adjust_cell_length(width, head)
        drawn = self._row(y - 1 + self.scroll_offset.y)
        if drawn is None:
            message = f"  {self.empty}" if y == 1 and not self._rows else ""
            return Strip([Segment(message, roles["dim"])]).adjust_cell_length(width, base)
        spans, is_selected, is_tagged = drawn
        return self._strip(spans, is_selected, is_tagged, width)

    def _strip(
        self, spans: tuple[Span, ...], is_selected: bool, is_tagged: bool, width: int
    ) -> Strip:
        roles = self._roles
        cursor = roles["cursor"] if self.has_focus else Style(bgcolor=roles["head"].bgcolor)
        over = cursor if is_selected else None
        base = self.rich_style + over if over else self.rich_style
        mark = roles["accent"]
        marks = ("▌" if is_selected else " ") + ("●" if is_tagged else " ")
        segments = [Segment(marks, mark + Style(bgcolor=base.bgcolor) if over else mark)]
        gap = Segment(" " * GAP, base)
        for text, role in spans:
            style = roles["accent"] if is_tagged and role in ("text", "strong") else roles[role]
            if over:
                style = style + Style(bgcolor=over.bgcolor)
            segments += [Segment(text, style), gap]
        return Strip(segments).adjust_cell_length(width, base)

    def on_focus(self) -> None:
        """The selected row looks different when keys go to it."""
        self._drawn.clear()
        self.refresh()

    def on_blur(self) -> None:
        """The selected row looks different when keys go elsewhere."""
        self._drawn.clear()
        self.refresh()

    def cursor_offset(self) -> Offset:
        """Where the selected row is on the screen, for the terminal's own cursor."""
        y = self._place - self.scroll_offset.y + 1
        return self.content_region.offset + Offset(0, min(max(y, 0), self.size.height - 1))
