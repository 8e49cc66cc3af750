"""The interface on a whole kernel with a scripted engine."""

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
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.tui.app import LingOSApp


@dataclass
class Stage:
    """A program and the kernel that it is attached to."""

    app: LingOSApp
    pilot: Pilot[None]
    kernel: Kernel
    client: LocalClient

    def text(self) -> str:
        """What is on the screen."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)

    def told(self) -> str:
        """What notifications say."""
        return "\n".join(notice.message for notice in self.app._notifications)

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def until(self, condition: Callable[[], Any], limit: int = 250) -> None:
        """Wait until something is so."""
        for _ in range(limit):
            if condition():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"it did not come to be:\n{self.text()}\n{self.told()}")

    async def sees(self, *words: str) -> None:
        """Wait until these words are on the screen."""
        await self.until(lambda: all(word in self.text() for word in words))


OpenStage = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def stage(tmp_path: Path) -> OpenStage:
    """`async with stage("models") as s`: that screen is open, a kernel is attached."""

    @asynccontextmanager
    async def opened(
        screen: str, *, size: tuple[int, int] = (130, 40), plugins: str = "", **options: Any
    ) -> AsyncIterator[Stage]:
        async with scripted_kernel(tmp_path, plugins=plugins) as kernel:

            async def connect(_may_start: bool) -> LocalClient:
                return LocalClient(kernel)

            options.setdefault("period_s", 0.05)
            app = LingOSApp(connect, **options)
            async with app.run_test(size=size) as pilot:
                made = Stage(app, pilot, kernel, LocalClient(kernel))
                await made.until(lambda: app.scheduler.latest is not None)
                if screen:
                    app.action_open_screen(screen)
                    await made.until(lambda: app.current_mode == screen)
                    await pilot.pause()
                yield made
            await made.client.close()

    return opened
