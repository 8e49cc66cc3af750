"""The sessions that are open, one in front; which they are is kept for the next start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from lingos_kernel.errors import LingOSError
from lingos_shell.tui.sessions import state
from lingos_shell.tui.sessions.picker import Ask, Picker
from lingos_shell.tui.sessions.session import Session, checked_name
from lingos_shell.tui.sessions.tab_bar import TabBar, tab_state
from lingos_shell.tui.sessions.view import SessionView
from lingos_shell.units import duration_text

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot
    from lingos_shell.language.builtin import Builtin
    from lingos_shell.tui.app import LingOSApp


@dataclass(frozen=True, slots=True)
class TabKey:
    """An action of the sessions and its key; all are in the palette, too."""

    action: str
    """`SessionTabs.action_...`"""
    keys: str
    about: str

    @property
    def id(self) -> str:
        """The name under which `[shell.keys]` gives it other keys."""
        return f"sessions.{self.action}"


TAB_KEYS: tuple[TabKey, ...] = (
    TabKey("new", "ctrl+t", "Begin another session"),
    TabKey("close", "ctrl+w", "Close the tab (with text in the prompt: delete a word); it is kept"),
    TabKey("next", "ctrl+pagedown,alt+right", "Go to the next session"),
    TabKey("previous", "ctrl+pageup,alt+left", "Go to the session before"),
    TabKey("resume", "ctrl+r", "Open a session that the kernel keeps"),
    TabKey("rename", "alt+r", "Give the session another name"),
    TabKey("settings", "ctrl+l", "Choose model, system prompt and sampling"),
    TabKey("export", "ctrl+s", "Write the session to a file: .md, .json or .ipynb"),
)


def tab_bindings() -> list[Binding]:
    """Bindings of a screen with sessions; they work wherever the keyboard is."""
    numbers = [
        Binding(f"alt+{n}", f"sessions('open({n - 1})')", show=False, priority=True)
        for n in range(1, 10)
    ]
    return [
        *(
            Binding(
                key.keys, f"sessions('{key.action}')", key.action, show=False, priority=True,
                tooltip=key.about, id=key.id,
            )
            for key in TAB_KEYS
        ),
        *numbers,
    ]  # fmt: skip


class SessionTabs(Vertical):
    """A line of tabs and the session that is in front."""

    HELP_TITLE = "Sessions"
    DEFAULT_CSS = """
    SessionTabs { height: 1fr; width: 1fr; }
    SessionTabs ContentSwitcher { height: 1fr; width: 1fr; }
    """

    def __init__(
        self,
        host: LingOSApp,
        *,
        state_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
        **widget: Any,
    ) -> None:
        """`state_dir` keeps which tabs are open; None keeps nothing."""
        super().__init__(**widget)
        self._host = host
        self._state_dir = state_dir
        self._clock = clock
        self._count = 0
        self._bar = TabBar(id="session-tabs")
        self._kept = state.read(state_dir)
        self._begun = [self._make(name) for name in self._kept.names] or [self._make()]
        self._views = list(self._begun)
        self._front = min(max(self._kept.active, 0), len(self._views) - 1)

    def compose(self) -> ComposeResult:
        """The tabs of last time, or a new one."""
        yield self._bar
        with ContentSwitcher(initial=self._views[self._front].id):
            yield from self._begun

    def on_mount(self) -> None:
        """Keys go to the session in front."""
        self._show(self._front)

    def _make(self, name: str = "") -> SessionView:
        self._count += 1
        session = Session(
            self._host.kernel_client,
            name=name,
            parent=lambda: self._host.link.pid,
            words=self._words,
        )
        return SessionView(self._host, session, id=f"session-{self._count}")

    def _words(self) -> Mapping[str, Builtin]:
        from lingos_shell.tui.sessions.words import tui_words

        return tui_words(self._host, self)

    # What is open

    @property
    def views(self) -> list[SessionView]:
        """The sessions, in the order of the tabs."""
        return list(self._views)

    @property
    def front(self) -> SessionView:
        """The one that is seen."""
        return self._views[self._front]

    def _show(self, number: int) -> None:
        self._front = number
        view = self.front
        self.query_one(ContentSwitcher).current = view.id
        view.come_to_front()
        self._changed()

    async def open_session(self, name: str = "") -> None:
        """Show a session in a tab: its own, when it is open already."""
        for number, view in enumerate(self._views):
            if name and view.session.name == name:
                self._show(number)
                return
        view = self._make(name)
        self._views.append(view)
        await self.query_one(ContentSwitcher).add_content(view)
        self._show(len(self._views) - 1)

    @on(SessionView.Changed)
    def _view_changed(self, event: SessionView.Changed) -> None:
        event.stop()
        self._changed()

    @on(SessionView.Left)
    def _left(self, event: SessionView.Left) -> None:
        event.stop()
        self.app.exit()

    @on(TabBar.Clicked)
    async def _clicked(self, event: TabBar.Clicked) -> None:
        event.stop()
        if event.number < len(self._views):
            self._show(event.number)
        else:
            await self.open_session()

    def _changed(self) -> None:
        self.draw(self._host.scheduler.latest)
        names = tuple(view.session.name for view in self._views if view.session.name)
        before = sum(bool(view.session.name) for view in self._views[: self._front])
        kept = state.OpenSessions(names, before)
        if kept != self._kept:
            self._kept = kept
            self._keep(kept)

    @work(exclusive=True, group="state", exit_on_error=False)
    async def _keep(self, kept: state.OpenSessions) -> None:
        try:
            await asyncio.to_thread(state.write, self._state_dir, kept)
        except OSError as error:
            self.notify(f"which tabs are open cannot be kept: {error}", severity="warning")

    def draw(self, snapshot: Snapshot | None) -> None:
        """Draw the tabs; a snapshot tells who waits."""
        if not self._bar.is_attached:  # the program is being left
            return
        tabs = [
            tab_state(
                view.session.name,
                view.session.row(snapshot) if view.is_running else None,
                is_running=view.is_running,
                asks=view.questions,
                is_new=view.has_news and number != self._front,
            )
            for number, view in enumerate(self._views)
        ]
        self._bar.set_tabs(tabs, self._front)

    # Actions

    def action_open(self, number: int) -> None:
        """Go to a tab by its place."""
        if number < len(self._views):
            self._show(number)

    def action_next(self) -> None:
        """Go to the next one; behind the last one comes the first."""
        self._show((self._front + 1) % len(self._views))

    def action_previous(self) -> None:
        """Go to the one before."""
        self._show((self._front - 1) % len(self._views))

    async def action_new(self) -> None:
        """Begin another session."""
        await self.open_session()

    async def action_close(self) -> None:
        """Close the tab: what runs in it ends, the context stays. The last one becomes a new one.

        While a message is typed the key deletes the word before the cursor, as everywhere.
        """
        view = self.front
        if view.prompt.has_focus and view.prompt.text:
            view.prompt.action_delete_word_left()
            return
        self._views.pop(self._front)
        self.run_worker(view.session.close(), group="closing", exit_on_error=False)
        if not self._views:
            fresh = self._make()
            self._views.append(fresh)
            await self.query_one(ContentSwitcher).add_content(fresh)
        self._show(min(self._front, len(self._views) - 1))
        await view.remove()

    @work(exclusive=True, group="dialog")
    async def action_resume(self) -> None:
        """Pick one of the contexts of the kernel."""
        try:
            heads = await self.front.session.contexts()
        except LingOSError as error:
            self.notify(error.message, severity="error")
            return
        if not heads:
            self.notify("the kernel keeps no session yet")
            return
        options = [(str(head["name"]), self._about(head)) for head in heads]
        picker = Picker("Open a session", options, chosen=self.front.session.name)
        name = await self.app.push_screen_wait(picker)
        if name is not None:
            await self.open_session(name)

    def _about(self, head: Mapping[str, Any]) -> str:
        age = duration_text(max(self._clock() - float(head["updated_s"]), 0.0))
        fork = f" · branch of {head['forked_from']}" if head["forked_from"] else ""
        return f"{head['tokens']} tokens · {head['model']} · {age} ago{fork}"

    @work(exclusive=True, group="dialog")
    async def action_rename(self) -> None:
        """Ask for another name."""
        view = self.front
        name = await self.app.push_screen_wait(Ask("Rename the session", view.session.name))
        if name is not None:
            await self.rename(view, name)

    async def rename(self, view: SessionView, name: str) -> None:
        """Give a session another name; what is wrong with it is told."""
        if view.is_running:
            self.notify("an answer is coming; Esc stops it")
            return
        try:
            await view.rename(checked_name(name))
        except LingOSError as error:
            hint = f"\n{error.hint}" if error.hint else ""
            self.notify(f"{error.message}{hint}", severity="error")
        self._changed()

    @work(exclusive=True, group="dialog")
    async def action_settings(self) -> None:
        """Choose how the model answers."""
        from lingos_shell.tui.sessions.settings import SettingsDialog

        view = self.front
        try:
            models = await view.session.client.call("model.list")
        except LingOSError as error:
            self.notify(error.message, severity="error")
            return
        await self.app.push_screen_wait(SettingsDialog(view.session.shell, models))
        view.show_settings()

    @work(exclusive=True, group="dialog")
    async def action_export(self) -> None:
        """Ask for a file, and write the session there."""
        view = self.front
        if not view.session.name:
            self.notify("there is nothing to write yet")
            return
        stem = view.session.name.replace("/", "-").replace(":", "-")
        about = "the suffix decides: .md, .json, .ipynb"
        name = await self.app.push_screen_wait(Ask("Write to file", f"{stem}.md", about=about))
        if name is not None:
            await view.send(f'/export "{name}"')
