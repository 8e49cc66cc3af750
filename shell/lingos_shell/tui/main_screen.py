"""The main screen: conversations at the left, the scheduler at the right or below."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from lingos_shell.tui.key_bar import KeyBar
from lingos_shell.tui.scheduler.keys import pane_bindings
from lingos_shell.tui.scheduler.pane import SchedulerPane
from lingos_shell.tui.sessions.tabs import SessionTabs, tab_bindings
from lingos_shell.tui.title import TitleBar

if TYPE_CHECKING:
    from lingos_shell.tui.app import LingOSApp

WIDE = 110
"""Cells from which on the pane stands beside the conversations; below it stands under them."""


class MainScreen(Screen[None]):
    """Conversations and the scheduler."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *pane_bindings(typing=True),
        *tab_bindings(),
        Binding("ctrl+b", "toggle_pane", "pane", show=False, id="main.toggle_pane",
                tooltip="Show or hide the scheduler beside the conversation"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    MainScreen #body { layout: horizontal; height: 1fr; }
    MainScreen #sessions { width: 1fr; height: 1fr; }
    MainScreen SchedulerPane {
        width: 55%; height: 1fr; border-left: solid $border-blurred;
    }
    MainScreen SchedulerPane:focus-within { border-left: solid $border; }
    MainScreen.below #body { layout: vertical; }
    MainScreen.below SchedulerPane {
        width: 1fr; height: 45%; border-left: none; border-top: solid $border-blurred;
    }
    MainScreen.below SchedulerPane:focus-within { border-left: none; border-top: solid $border; }
    MainScreen.alone SchedulerPane { display: none; }
    """
    AUTO_FOCUS = ""

    def __init__(self, host: LingOSApp) -> None:
        super().__init__()
        self._host = host
        self._sessions = SessionTabs(host, state_dir=host.state_dir, id="sessions")
        self._pane = SchedulerPane(host.scheduler, id="pane")

    def compose(self) -> ComposeResult:
        """Title, body, keys."""
        yield TitleBar(id="title")
        with Container(id="body"):
            yield self._sessions
            yield self._pane
        yield KeyBar(id="keys")

    def redraw(self) -> None:
        """A new snapshot has come."""
        self._sessions.draw(self._host.scheduler.latest)
        if self._pane.display:
            self._pane.redraw()

    def on_resize(self, event: events.Resize) -> None:
        """Narrow: the pane goes below."""
        self.set_class(event.size.width < WIDE, "below")

    def action_pane(self, action: str) -> None:
        """Do one of the pane's actions, though keys go to the prompt."""
        name, _, rest = action.partition("(")
        handler = getattr(self._pane, f"action_{name}")
        handler(*([int(rest.rstrip(")"))] if rest else []))

    async def action_sessions(self, action: str) -> None:
        """Do one of the sessions' actions, wherever the keyboard is."""
        await self._sessions.run_action(action)

    def action_toggle_pane(self) -> None:
        """Show or hide the pane."""
        self.toggle_class("alone")
