"""The scheduler on the whole screen: `lingos top`, and F2."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from lingos_shell.tui.key_bar import KeyBar
from lingos_shell.tui.scheduler.pane import SchedulerPane
from lingos_shell.tui.title import TitleBar

if TYPE_CHECKING:
    from lingos_shell.tui.app import LingOSApp


class SchedulerScreen(Screen[None]):
    """The pane with all the room there is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "app.leave_top", "back", show=False, id="top.leave",
                tooltip="Back to where you came from"),
    ]  # fmt: skip
    AUTO_FOCUS = "#grid"

    def __init__(self, host: LingOSApp) -> None:
        super().__init__()
        self._pane = SchedulerPane(host.scheduler, id="pane")

    def compose(self) -> ComposeResult:
        """Title, pane, keys."""
        yield TitleBar(id="title")
        yield self._pane
        yield KeyBar(id="keys")

    def redraw(self) -> None:
        """A new snapshot has come."""
        self._pane.redraw()
