"""The terminal application: its screens, its keys, and its one connection to the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import events, work
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType

from lingos_shell.tui.keyboard import Keyboard
from lingos_shell.tui.lines import COMPONENTS
from lingos_shell.tui.link import PERIOD_S, Connect, KernelLink, LinkStatus
from lingos_shell.tui.registry import MAIN, SCREENS, TOP, ScreenEntry, ShowsSnapshots
from lingos_shell.tui.scheduler.model import SchedulerModel
from lingos_shell.tui.themes import DEFAULT_THEME, DIALOG_CSS, ROLE_CSS, THEMES, VARIABLES

if TYPE_CHECKING:
    from textual.screen import Screen

    from lingos_kernel.client.protocol import KernelClient
    from lingos_kernel.telemetry.snapshot import Snapshot
    from lingos_shell.tui.plugin_panes import PaneFactory


class LingOSApp(App[None]):
    """Sessions and scheduler. The kernel is attached, or started, behind the first frame."""

    TITLE = "LingOS"
    DEFAULT_MODE = MAIN
    COMMAND = "lingos"
    """What our process is called in the kernel's table."""
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    CSS = ROLE_CSS + DIALOG_CSS
    COMPONENT_CLASSES: ClassVar[set[str]] = set(COMPONENTS)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "help", "help", id="app.help", tooltip="The keys that work here"),
        *(
            Binding(entry.key, f"open_screen('{entry.name}')", entry.name, id=entry.id,
                    tooltip=entry.about)
            for entry in SCREENS
            if entry.key
        ),
        Binding("ctrl+p", "command_palette", "palette", id="app.palette", priority=True,
                tooltip="Everything that can be done, by name"),
        Binding("ctrl+q", "quit", "quit", id="app.quit", priority=True,
                tooltip="Leave; the kernel and what runs there go on"),
    ]  # fmt: skip

    def __init__(
        self,
        connect: Connect,
        *,
        is_readonly: bool = False,
        may_start: bool = True,
        theme: str = DEFAULT_THEME,
        keys: Mapping[str, str] | None = None,
        period_s: float = PERIOD_S,
        load_panes: Callable[[], Mapping[str, PaneFactory]] = dict,
        state_dir: Path | None = None,
        on_first_frame: Callable[[], None] | None = None,
    ) -> None:
        """`keys`: other keys by the id of what they do (`{"app.quit": "ctrl+x"}`).

        `load_panes` imports the plugins' panes; it runs in a thread, once the kernel is attached.
        `state_dir` keeps which sessions are open; None keeps nothing.
        """
        super().__init__()
        self.is_readonly = is_readonly
        self.state_dir = state_dir
        self.keyboard = Keyboard()
        self.scheduler = SchedulerModel()
        self._load_panes = load_panes
        self._on_first_frame = on_first_frame
        self._restarts_told = 0
        self.plugin_panes: dict[str, PaneFactory] = {}
        """Those that were found, by name."""
        self.link = KernelLink(
            connect,
            on_status=self._status_changed,
            on_snapshot=self._snapshot_came,
            may_start=may_start,
            command=self.COMMAND,
            period_s=period_s,
        )
        for own in THEMES:
            self.register_theme(own)
        self.theme = theme
        for entry in SCREENS:
            self.add_mode(entry.name, partial(self._make_screen, entry))
        if keys:
            self.set_keymap(dict(keys))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Colours of our roles for themes that do not know them."""
        return VARIABLES

    def get_key_display(self, binding: Binding) -> str:
        """Function keys with a capital F, Ctrl as a caret with a capital letter."""
        shown = super().get_key_display(binding)
        shown = shown.replace("shift+f", "⇧F")
        is_function_key = shown[:1] == "f" and shown[1:].isdigit()
        return shown.upper() if is_function_key or shown.startswith("^") else shown

    def _make_screen(self, entry: ScreenEntry) -> Screen[Any]:
        return entry.make(self)

    def on_mount(self) -> None:
        """The kernel is sought once the first frame is painted."""
        if self._on_first_frame is not None:
            self.call_after_refresh(self._on_first_frame)
        self.call_after_refresh(self.keep_attached)
        self.call_after_refresh(self.find_plugin_panes)

    @work(exclusive=True, group="link")
    async def keep_attached(self) -> None:
        """Attach, and deliver snapshots, as long as the program runs."""
        await self.link.run()

    @work(exclusive=True, group="panes")
    async def find_plugin_panes(self) -> None:
        """Give each plugin's pane a screen and a line in the palette."""
        await self.link.client()
        for name, factory in (await asyncio.to_thread(self._load_panes)).items():
            self.plugin_panes[name] = factory
            self.add_mode(f"plugin.{name}", partial(self._make_plugin_screen, name))

    def _make_plugin_screen(self, name: str) -> Screen[Any]:
        from lingos_shell.tui.plugin_panes import PluginScreen

        return PluginScreen(self, name, self.plugin_panes[name])

    async def on_event(self, event: events.Event) -> None:
        """Textual's hook: all keys come by here."""
        if isinstance(event, events.Key):
            self.keyboard.pressed()
        await super().on_event(event)

    async def kernel_client(self) -> KernelClient:
        """The client, as soon as it is attached."""
        return await self.link.client()

    # What the connection tells

    def _status_changed(self, status: LinkStatus) -> None:
        if status.restarts != self._restarts_told:
            self._restarts_told = status.restarts
            self.notify("the kernel is back; attached again")
        self._draw_title()

    def _snapshot_came(self, snapshot: Snapshot) -> None:
        self.scheduler.take(snapshot)
        self._draw_behind_keys()

    @work(exclusive=True, group="draw")
    async def _draw_behind_keys(self) -> None:
        await self.keyboard.breathe()
        if self.screen_stack:  # leaving takes the screens away
            self.draw()

    def draw(self) -> None:
        """Draw what the scheduler shows on the open screen."""
        self._draw_title()
        if isinstance(self.screen, ShowsSnapshots):
            self.screen.redraw()

    def on_title_bar_ready(self) -> None:
        """A screen has come up."""
        self._draw_title()

    def _draw_title(self) -> None:
        from lingos_shell.tui.title import TitleBar, title_line

        note = "read-only" if self.is_readonly else ""
        for bar in self.screen.children:  # at the top: no search through long conversations
            if isinstance(bar, TitleBar):
                bar.show(
                    lambda width: [title_line(self.link.status, self.scheduler.latest, note, width)]
                )

    # Screens

    def action_open_screen(self, name: str) -> None:
        """Open a screen; from there, go back to the main one."""
        wanted = MAIN if self.current_mode == name else name
        self.switch_mode(wanted)
        self.call_after_refresh(self.draw)

    def action_leave_top(self) -> None:
        """Back to the main screen; `lingos top` ends."""
        if self.DEFAULT_MODE == TOP:
            self.exit()
        else:
            self.action_open_screen(TOP)

    def action_help(self) -> None:
        """Show the keys that work here."""
        from lingos_shell.tui.help import help_page

        self.push_screen(help_page(self))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the palette lists: screens, the pane's actions, then Textual's own."""
        for entry in SCREENS:
            yield SystemCommand(
                f"Open {entry.title}", entry.about, partial(self.action_open_screen, entry.name)
            )
        for name in self.plugin_panes:
            open_pane = partial(self.action_open_screen, f"plugin.{name}")
            yield SystemCommand(f"Open {name}", "A plugin's pane", open_pane)
        yield from self._session_commands(screen)
        yield from self._pane_commands(screen)
        yield from super().get_system_commands(screen)

    def _session_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from lingos_shell.tui.sessions.tabs import TAB_KEYS, SessionTabs

        for tabs in screen.query(SessionTabs):
            for key in TAB_KEYS:
                action: Callable[[], Any] = partial(tabs.run_action, key.action)
                yield SystemCommand(f"Session: {key.action}", key.about, action)

    def _pane_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        from lingos_shell.tui.scheduler.keys import PANE_KEYS
        from lingos_shell.tui.scheduler.pane import SchedulerPane

        for pane in screen.query(SchedulerPane):
            for key in PANE_KEYS:
                action: Callable[[], Any] = partial(pane.run_action, key.action)
                title = f"Scheduler: {key.action.replace('_', ' ')}"
                yield SystemCommand(title, key.about, action)


class TopApp(LingOSApp):
    """`lingos top`: begins with the scheduler on the whole screen."""

    DEFAULT_MODE = TOP
    COMMAND = "lingos top"
