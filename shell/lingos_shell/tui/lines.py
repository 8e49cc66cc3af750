"""Widgets that draw spans: each keeps its drawn lines and repaints only those that changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from lingos_shell.tui.spans import ROLES, Line, plain

COMPONENTS = frozenset({*(f"role--{role}" for role in ROLES), "role--cursor", "role--head"})
"""Component classes of the app: each widget that had them, too, would cost the start a
twentieth of its time."""


class RoleStyles:
    """The Rich style of each role on one widget's background, looked up once per theme."""

    def __init__(self, widget: Widget) -> None:
        self._widget = widget
        self._styles: dict[str, Style] = {}

    def __getitem__(self, role: str) -> Style:
        style = self._styles.get(role)
        if style is None:
            styles = self._widget.app.get_component_styles(f"role--{role}")
            _, behind = self._widget.background_colors
            ground = behind + styles.background
            style = styles.text_style + Style.from_color(
                (ground + styles.color).rich_color, ground.rich_color
            )
            self._styles[role] = style
        return style

    def clear(self) -> None:
        """Look everything up again: the theme has changed."""
        self._styles.clear()


class SpanLines(Widget):
    """A few lines of spans, made anew for each width by `show`'s function."""

    DEFAULT_CSS = "SpanLines { height: auto; width: 1fr; }"

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self._styles = RoleStyles(self)
        self._draw: Callable[[int], Sequence[Line]] = lambda _: ()
        self._lines: tuple[Line, ...] = ()
        self._width = 0

    @property
    def text(self) -> str:
        """What is drawn, as plain text."""
        return "\n".join(plain(line).rstrip() for line in self._lines)

    def show(self, draw: Callable[[int], Sequence[Line]]) -> None:
        """Draw these lines from now on; `draw` gets the width in cells."""
        self._draw = draw
        self._update(self.size.width)

    def _update(self, width: int) -> None:
        before, self._width = self._lines, width
        self._lines = tuple(self._draw(width)) if width else ()
        if len(before) != len(self._lines):
            self.refresh(layout=True)
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, width, 1))

    def on_resize(self, event: events.Resize) -> None:
        """Another width, other lines."""
        if event.size.width != self._width:
            self._update(event.size.width)

    def notify_style_update(self) -> None:
        """Textual's hook: styles have changed."""
        super().notify_style_update()
        self._styles.clear()

    def get_content_height(
        self,
        container: Size,  # noqa: ARG002  # Textual's signature
        viewport: Size,  # noqa: ARG002
        width: int,
    ) -> int:
        """As many lines as there are."""
        if width != self._width:
            self._width = width
            self._lines = tuple(self._draw(width)) if width else ()
        return len(self._lines)

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        styles = self._styles
        segments = [Segment(text, styles[role]) for text, role in self._lines[y]]
        return Strip(segments).adjust_cell_length(width, self.rich_style)
