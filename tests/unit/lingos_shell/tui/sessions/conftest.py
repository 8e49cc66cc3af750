"""The whole program on a scripted kernel whose model says what a test tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from lingos_kernel.client.local import LocalClient
from lingos_kernel.kernel import Kernel
from lingos_kernel.testing.scripted_engine import ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.tui.app import LingOSApp
from lingos_shell.tui.sessions.entries import UserMessage
from lingos_shell.tui.sessions.prompt import Prompt
from lingos_shell.tui.sessions.tabs import SessionTabs
from lingos_shell.tui.sessions.view import SessionView

OpenSessions = Callable[..., AbstractAsyncContextManager["Screen"]]


@dataclass
class Screen:
    """The main screen of a program in a test."""

    app: LingOSApp
    pilot: Pilot[None]
    kernel: Kernel

    @property
    def tabs(self) -> SessionTabs:
        """The sessions."""
        return self.app.query_one(SessionTabs)

    @property
    def view(self) -> SessionView:
        """The one in front."""
        return self.tabs.front

    @property
    def prompt(self) -> Prompt:
        """Where keys go."""
        return self.view.prompt

    @property
    def messages(self) -> list[str]:
        """What the person has said in it."""
        return [e.text for e in self.view.transcript.entries if isinstance(e, UserMessage)]

    def text(self) -> str:
        """What is on the screen."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)

    def said(self) -> str:
        """What is in the transcript, seen or not."""
        return "\n".join(entry.plain for entry in self.view.transcript.entries)

    def told(self) -> str:
        """What notifications say."""
        return "\n".join(notice.message for notice in self.app._notifications)

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until what they began has settled."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def send(self, text: str, *, waits: bool = True) -> None:
        """Type a text at once, send it, and wait for its end."""
        self.prompt.insert(text)
        await self.press("enter")
        if waits:
            await self.idle()

    async def idle(self) -> None:
        """Wait until the session in front has nothing to do."""
        view = self.view
        await self.until(lambda: not (view.is_running or view._waiting))
        await self.pilot.pause()

    async def until(self, condition: Callable[[], Any], limit: int = 1500) -> None:
        """Wait until something is so."""
        for _ in range(limit):
            if condition():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"it did not come to be:\n{self.text()}\n{self.told()}")


@pytest.fixture
def open_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenSessions:
    """`async with open_sessions(script) as screen`: attached, with an empty session in front.

    The same home each time: what was said in it before is there again.
    """
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SHELL", "/bin/sh")

    @asynccontextmanager
    async def opened(
        script: Any = None, *, size: tuple[int, int] = (120, 40), **options: Any
    ) -> AsyncIterator[Screen]:
        engine = ScriptedEngine(script) if script is not None else None
        async with scripted_kernel(tmp_path / "home", plugins="text", engine=engine) as kernel:

            async def connect(_may_start: bool) -> LocalClient:
                return LocalClient(kernel)

            options.setdefault("period_s", 0.25)
            app = LingOSApp(connect, state_dir=tmp_path / "state", **options)
            async with app.run_test(size=size) as pilot:
                screen = Screen(app, pilot, kernel)
                await screen.until(lambda: app.scheduler.latest is not None)
                yield screen

    return opened
