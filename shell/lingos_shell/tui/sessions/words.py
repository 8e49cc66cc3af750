"""Words of the language that only the terminal interface has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lingos_shell.language.builtin import Builtin, Request
from lingos_shell.tui.registry import TOP

if TYPE_CHECKING:
    from lingos_shell.tui.app import LingOSApp
    from lingos_shell.tui.sessions.tabs import SessionTabs


def tui_words(host: LingOSApp, tabs: SessionTabs) -> Mapping[str, Builtin]:
    """The words, for one program."""

    def top(_request: Request) -> None:
        host.action_open_screen(TOP)

    async def new(request: Request) -> None:
        await tabs.open_session(request.arguments.get("name", ""))

    async def rename(request: Request) -> None:
        view = next(v for v in tabs.views if v.session.shell is request.shell)
        await view.rename(request.arguments["name"])
        await request.tell(f"the session is called {view.session.name}")

    return {
        "top": Builtin(top),
        "tab": Builtin(
            new,
            {"name": {"type": "string", "description": "a session to open"}},
            summary="Open a session, or a new one, in another tab.",
        ),
        "rename": Builtin(
            rename,
            {"name": {"type": "string", "description": "the new name"}},
            ("name",),
            summary="Give the session another name.",
        ),
    }
