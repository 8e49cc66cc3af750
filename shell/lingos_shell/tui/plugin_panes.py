"""Screens that plugins add by the hook `lingos_register_panes`.

A pane is `factory(app)`: it gets the `LingOSApp` (`await app.kernel_client()`, `app.scheduler`)
and returns a Textual widget, which gets a screen of its own between the title and the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget

from lingos_shell.tui.key_bar import KeyBar
from lingos_shell.tui.title import TitleBar

if TYPE_CHECKING:
    from lingos_kernel.config import Config
    from lingos_shell.tui.app import LingOSApp

PaneFactory = Callable[["LingOSApp"], Widget]


def load_plugin_panes(config: Config) -> Mapping[str, PaneFactory]:
    """Import the installed plugins and collect their panes by name; blocks.

    What a broken plugin did is in `lingos plugins`; the others' panes work.
    """
    from lingos_kernel.plugin_switches import PluginSwitches
    from lingos_kernel.plugins import PluginHost
    from lingos_kernel.registry import Registry

    panes = Registry("pane")
    host = PluginHost(config.plugins, switches=PluginSwitches.at(config.paths))
    host.attach("panes", panes)
    host.load()
    return panes.items


class PluginScreen(Screen[None]):
    """A plugin's widget on the whole screen; one that fails says why."""

    def __init__(self, host: LingOSApp, name: str, factory: PaneFactory) -> None:
        super().__init__(name=name)
        self._host, self._factory = host, factory

    def compose(self) -> ComposeResult:
        """Title, the pane, keys."""
        yield TitleBar(id="title")
        yield self._pane()
        yield KeyBar(id="keys")

    def _pane(self) -> Widget:
        from textual.widgets import Static

        try:
            made: Any = self._factory(self._host)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the app goes on
            return Static(f"the pane {self.name} failed: {error}", markup=False)
        if isinstance(made, Widget):
            return made
        return Static(f"the pane {self.name} made a {type(made).__name__}, no widget", markup=False)
