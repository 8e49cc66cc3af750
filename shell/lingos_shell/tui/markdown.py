"""A widget that shows Markdown that grows: one widget, whatever the length.

Textual's own makes widgets of each paragraph and list item; laying all of them out again for each
piece of an answer held up the keyboard for a quarter of a second (decision 11).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from lingos_shell.tui.keyboard import Breathe, at_once
from lingos_shell.tui.markdown_blocks import Look, block_lines, blocks

MARK = Style(reverse=True)
"""Of a searched text."""


class MarkdownLines(Widget):
    """Markdown as lines. Of a text that grows only the last block is drawn again."""

    ALLOW_SELECT = True
    DEFAULT_CSS = "MarkdownLines { height: auto; width: 1fr; }"

    def __init__(self, text: str = "", **widget: Any) -> None:
        super().__init__(**widget)
        self.source = text
        """All of the Markdown."""
        self._begin = 0
        """Where the last block begins in the source; what is before it does not change."""
        self._fixed: list[Strip] = []
        self._last: list[Strip] = []
        self._width = 0
        self._look: Look | None = None
        self._wanted = ""
        self._base = Style()
        self._run: object = None
        """Which drawing is under way; another one ends it."""

    async def append(self, text: str, breathe: Breathe = at_once) -> None:
        """More of it; `breathe` lets others go first before each block that is drawn."""
        self.source += text
        if not self._width:
            return
        height, kept = len(self._fixed) + len(self._last), len(self._fixed)
        run = self._run = object()
        for _ in self._taking_in(self._width):
            await breathe()
            if self._run is not run:  # drawn anew meanwhile, and as a whole
                return
        self._refresh_below(kept, height)

    def update(self, text: str) -> None:
        """Another text in the place of this one."""
        if text != self.source:
            self.source = text
            self._draw_all()

    def mark(self, text: str) -> None:
        """Mark each place of a (case-folded) text; none for an empty one."""
        self._wanted = text
        self.refresh()

    @property
    def lines(self) -> list[str]:
        """What is drawn, as plain text."""
        return [strip.text.rstrip() for strip in (*self._fixed, *self._last)]

    # Drawing

    def _draw_all(self) -> None:
        """Draw all of it at once."""
        height = len(self._fixed) + len(self._last)
        if self._width:
            self._take_in(self._width)
            self._refresh_below(0, height)

    def _refresh_below(self, first: int, height: int) -> None:
        """Lines from the `first` on are new; there were `height` lines before."""
        now = len(self._fixed) + len(self._last)
        below = Region(0, first, self._width, max(now, height) - first)
        self.refresh(below, layout=now != height)

    def _take_in(self, width: int) -> None:
        """Make all lines anew."""
        self._run = object()
        self._begin, self._fixed, self._last = 0, [], []
        deque(self._taking_in(width), maxlen=0)

    def _taking_in(self, width: int) -> Iterator[None]:
        """Make the lines from the last known block on, a block with each step."""
        if self._look is None:
            self._look = look_of(self.app.theme_variables, is_dark=self.app.current_theme.dark)
        every = blocks(self.source[self._begin :])
        for number, block in enumerate(every):
            drawn = [Strip(line).simplify() for line in block_lines(block, width, self._look)]
            if drawn and self._fixed:
                drawn.insert(0, Strip([]))
            if number < len(every) - 1:
                self._fixed += drawn
                self._last = []
                self._begin += len(block)
            else:
                self._last = drawn
                self._begin = len(self.source) - len(block)
            yield

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002  # Textual's signature
        """As many lines as it takes in this width."""
        if width != self._width and width > 0:
            self._width = width
            self._take_in(width)
        return len(self._fixed) + len(self._last)

    def on_resize(self, event: events.Resize) -> None:
        """Another width, other lines."""
        if event.size.width != self._width and event.size.width:
            self._width = event.size.width
            self._draw_all()

    def notify_style_update(self) -> None:
        """Textual's hook: colours may have changed."""
        super().notify_style_update()
        if self._look is None or not self.is_attached:
            return
        look = look_of(self.app.theme_variables, is_dark=self.app.current_theme.dark)
        if look != self._look:
            self._look = look
            self._draw_all()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Lines of the widget; the style below them is looked up once for all."""
        self._base = self.rich_style
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        width, base = self.size.width, self._base
        place = y - len(self._fixed)
        if place >= len(self._last):
            return Strip.blank(width, base)
        strip = self._fixed[y] if place < 0 else self._last[place]
        strip = strip.apply_style(base).adjust_cell_length(width, base)
        for begin, end in self._found_in(strip.text):
            strip = styled(strip, begin, end, MARK)
        if (selection := self.text_selection) and (span := selection.get_span(y)):
            begin, end = span
            end = len(strip.text.rstrip()) if end == -1 else end
            over = self.screen.get_component_rich_style("screen--selection")
            strip = styled(strip, begin, end, over)
        return strip.apply_offsets(0, y)

    def _found_in(self, text: str) -> Iterator[tuple[int, int]]:
        folded = text.casefold()
        if not self._wanted or len(folded) != len(text):
            return
        at = folded.find(self._wanted)
        while at >= 0:
            yield at, at + len(self._wanted)
            at = folded.find(self._wanted, at + len(self._wanted))

    def get_selection(self, selection: Selection) -> tuple[str, str]:
        """What of it is selected."""
        return selection.extract("\n".join(self.lines)), "\n"


def styled(strip: Strip, begin: int, end: int, style: Style) -> Strip:
    """The strip with the characters from `begin` to `end` in another style."""
    left, right = strip.index_to_cell_position(begin), strip.index_to_cell_position(end)
    cells = strip.cell_length
    if not left < right <= cells:
        return strip
    before, within, after = strip.crop(0, left), strip.crop(left, right), strip.crop(right, cells)
    over = Strip([segment._replace(style=(segment.style or Style()) + style) for segment in within])
    return Strip.join([before, over, after])


def look_of(variables: dict[str, str], *, is_dark: bool) -> Look:
    """How Markdown looks under a theme, by its variables."""

    def colour(name: str, otherwise: str) -> str:
        return Color.parse(variables.get(name, otherwise)).rich_color.name

    is_ansi = variables.get("background", "").startswith("ansi")
    code_style = ("ansi_dark" if is_dark else "ansi_light") if is_ansi else (
        "github-dark" if is_dark else "friendly"
    )  # fmt: skip
    return Look(
        heading=colour("primary", "ansi_blue"),
        code=colour("role-kv", "ansi_cyan"),
        mark=colour("accent", "ansi_yellow"),
        link=colour("secondary", "ansi_blue"),
        dim=colour("role-other", "ansi_bright_black"),
        code_style=code_style,
        code_ground="default" if is_ansi else colour("surface", "ansi_default"),
    )
