"""The one list of full screens. Add an entry and it has a key, a place in the palette and in help.

`factory` names `module:callable`, imported when the screen is first opened; the callable gets the
`LingOSApp` and returns a Textual `Screen`. The screens of the list are Textual modes: each keeps
its state while another one is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from textual.screen import Screen

    from lingos_shell.tui.app import LingOSApp


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """One full screen."""

    name: str
    title: str
    about: str
    factory: str
    key: str = ""
    """Opens it from anywhere; pressed there, it leads back to the main screen."""

    @property
    def id(self) -> str:
        """The name under which `[shell.keys]` gives it another key."""
        return f"screen.{self.name}"

    def make(self, app: LingOSApp) -> Screen[Any]:
        """Import and make the screen."""
        module, _, attribute = self.factory.partition(":")
        factory: Callable[[LingOSApp], Screen[Any]] = getattr(import_module(module), attribute)
        return factory(app)


@runtime_checkable
class ShowsSnapshots(Protocol):
    """A screen that draws the app's last snapshot."""

    def redraw(self) -> None:
        """A new snapshot has come."""


MAIN, TOP = "main", "top"

SCREENS: tuple[ScreenEntry, ...] = (
    ScreenEntry(
        MAIN, "Sessions", "Conversations beside the scheduler",
        "lingos_shell.tui.main_screen:MainScreen",
    ),
    ScreenEntry(
        TOP, "Scheduler", "The scheduler on the whole screen",
        "lingos_shell.tui.scheduler.screen:SchedulerScreen", "f2",
    ),
    ScreenEntry(
        "models", "Models", "What is in the store and in memory; pull, load, pin, remove",
        "lingos_shell.tui.screens.models:ModelsScreen", "f10,alt+m",
    ),
    ScreenEntry(
        "syscalls", "Syscalls", "Find a syscall, fill in its form, run it",
        "lingos_shell.tui.screens.syscalls:SyscallsScreen", "f11,alt+s",
    ),
    ScreenEntry(
        "audit", "Audit and logs", "Who called what, live; the chain verified; the kernel's log",
        "lingos_shell.tui.screens.audit:AuditScreen", "f12,alt+a",
    ),
    ScreenEntry(
        "plugins", "Plugins", "What plugins provide and cost; enable, disable, trace",
        "lingos_shell.tui.screens.plugins:PluginsScreen", "shift+f2,alt+p",
    ),
)  # fmt: skip
