"""The line of tabs: name and state of each session, the open one in sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import events
from textual.message import Message

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.spans import Line, Role, Span, clean, fit, fit_line, width_of

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import ProcessRow

MAX_NAME = 24
NEW = " + "


@dataclass(frozen=True, slots=True)
class TabState:
    """One tab, as it is drawn."""

    name: str
    is_running: bool = False
    queue_position: int | None = None
    """Requests before this one; None when it does not wait."""
    asks: int = 0
    """Calls that wait for a yes."""
    is_new: bool = False
    """Something has come that nobody has seen."""

    @property
    def mark(self) -> tuple[str, Role]:
        """The state in a word or two, and its role."""
        if self.asks:
            return "asks", "warn"
        if self.queue_position is not None:
            return f"waits {self.queue_position + 1}", "warn"
        if self.is_running:
            return "runs", "good"
        return ("new", "accent") if self.is_new else ("", "dim")


def tab_state(name: str, row: ProcessRow | None, **known: object) -> TabState:
    """The state of a session, from its process and from what its tab knows."""
    waits = row is not None and row.state == "waiting"
    position = (row.queue_position or 0) if waits and row is not None else None
    return TabState(name, queue_position=position, **known)  # type: ignore[arg-type]


def tab_spans(tabs: Sequence[TabState], active: int) -> list[tuple[Span, ...]]:
    """The spans of each tab."""
    made: list[tuple[Span, ...]] = []
    for number, tab in enumerate(tabs):
        name = clean(tab.name) or "new"
        size = min(MAX_NAME, width_of(((name, "text"),)))
        shown = fit(name, size)
        mark, role = tab.mark
        is_active = number == active
        title: Span = (f" {number + 1} {shown} ", "chip" if is_active else "label")
        made.append((title, (f"{mark} ", role)) if mark else (title,))
    return made


def tab_line(tabs: Sequence[TabState], active: int, width: int) -> tuple[Line, list[range]]:
    """The line, and the cells of each tab (and of the + behind them) in it.

    When not all fit, those before the open one go first.
    """
    spans = tab_spans(tabs, active)
    sizes = [width_of(group) for group in spans]
    first = 0
    while first < active and sum(sizes[first : active + 1]) + len(NEW) + 2 > width:
        first += 1
    line: list[Span] = [("‹ ", "dim")] if first else []
    at = width_of(tuple(line))
    places = [range(0)] * first
    for group, size in zip(spans[first:], sizes[first:], strict=True):
        places.append(range(at, at + size))
        line.extend(group)
        at += size
    places.append(range(at, at + len(NEW)))
    line.append((NEW, "dim"))
    return fit_line(tuple(line), width), places


class TabBar(SpanLines):
    """Draws the tabs; a click opens one."""

    DEFAULT_CSS = "TabBar { height: 1; margin: 0 1; }"

    class Clicked(Message):
        """Raised when a tab was clicked; the number of tabs stands for a new one."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def set_tabs(self, tabs: Sequence[TabState], active: int) -> None:
        """Draw these."""
        self._places: list[range] = []

        def draw(width: int) -> Sequence[Line]:
            line, self._places = tab_line(tabs, active, width)
            return [line]

        self.show(draw)

    def on_click(self, event: events.Click) -> None:
        """Open what was clicked."""
        number = next((n for n, place in enumerate(self._places) if event.x in place), None)
        if number is not None:
            self.post_message(self.Clicked(number))
