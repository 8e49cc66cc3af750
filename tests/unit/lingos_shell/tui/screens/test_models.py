"""The screen of models on a whole kernel: it shows what is there, and its keys act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from lingos_kernel.syscalls.events import Progress
from lingos_kernel.testing import FakeClock
from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.screens.pulling import Pulling, pull_line
from lingos_shell.tui.spans import plain, width_of


def state_of(s, name: str) -> str:
    """A model's state as the kernel tells it."""
    snapshot = s.app.scheduler.latest
    return next(model.state for model in snapshot.models if model.name == name)


async def test_load_pin_unload(stage) -> None:
    """Each key does what the footer says; unloading asks."""
    async with stage("models") as s:
        await s.sees("scripted-embedder", "stored", "2 models")
        listing = s.app.screen.query_one(Listing)
        s.app.screen.query_one(Listing).grid.cursor = "scripted"
        await s.press("l")
        await s.until(lambda: state_of(s, "scripted") == "ready")
        await s.press("p")
        await s.sees("pinned")
        await s.press("p")
        await s.until(lambda: not listing.selected.pinned)
        await s.press("f9")
        await s.sees("Free the memory of scripted?")
        await s.press("y")
        await s.until(lambda: state_of(s, "scripted") == "stored")


async def test_remove_asks(stage) -> None:
    """No leaves it; yes removes it from the store."""
    async with stage("models") as s:
        await s.sees("scripted-embedder")
        s.app.screen.query_one(Listing).grid.cursor = "scripted-embedder"
        await s.press("d")
        await s.sees("Remove scripted-embedder from the store?")
        await s.press("n")
        assert len(await s.client.call("model.list")) == 2
        await s.press("delete")
        await s.sees("Remove scripted-embedder from the store?")
        await s.press("y")
        await s.sees("1 models")


async def test_details(stage) -> None:
    """Enter tells everything about a model."""
    async with stage("models") as s:
        await s.sees("scripted")
        s.app.screen.query_one(Listing).grid.cursor = "scripted"
        await s.press("enter")
        await s.sees("weight format", "Esc closes")


async def test_pull(stage, tmp_path: Path) -> None:
    """A model from a folder comes into the store; a source that there is not is told with help."""
    async with stage("models") as s:
        await s.sees("scripted")
        await s.press("f5")
        await s.sees("Pull a model", "smollm2-135m-instruct")
        await s.press(*"/no/such", "enter")
        await s.until(lambda: "/no/such" in s.told())
        await s.press("f5")
        await s.sees("Pull a model")
        source = next(tmp_path.rglob("scripted-source"))
        s.app.screen.query_one("Input").value = str(source)
        await s.press("enter")
        await s.until(lambda: "is in the store" in s.told())


async def test_progress_and_cancel(open_screen, kernel) -> None:
    """A bar while it is fetched; Escape ends the call."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def pull(source: str) -> AsyncGenerator[object, None]:
        try:
            yield Progress(50.0, 200.0, "B", "download big")
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    kernel.answers["model.pull"] = pull
    async with open_screen("main") as screen:
        await screen.press("f10", "f5")
        await screen.until(lambda: "Pull a model" in screen.text())
        await screen.press(*"big", "enter")
        await screen.until(begun.is_set)
        await screen.until(lambda: "25 %" in screen.text())
        await screen.press("escape")
        await screen.until(ended.is_set)
        await screen.until(lambda: "25 %" not in screen.text())


async def test_readonly(stage) -> None:
    """Nothing changes; a message says why."""
    async with stage("models", is_readonly=True) as s:
        await s.sees("scripted")
        for key in ("f5", "l", "p", "u", "d"):
            s.app.clear_notifications()
            await s.press(key)
            await s.until(lambda: "--readonly" in s.told())
        assert state_of(s, "scripted") == "stored"


def test_a_download_in_a_line() -> None:
    """Share, bytes, speed and time left; what was there before does not count as speed."""
    clock = FakeClock()
    pulling = Pulling("big", now=clock)
    pulling.take(Progress(100.0 * 2**20, 400.0 * 2**20, "B", "download big"))
    clock.advance(10.0)
    pulling.take(Progress(200.0 * 2**20, 400.0 * 2**20, "B", "download big"))
    line = pull_line(pulling, 120)
    text = plain(line)
    assert "50 %" in text
    assert "200M/400M" in text
    assert "10M/s  0:20 left" in text
    assert width_of(line) == 120
    assert width_of(pull_line(pulling, 30, mono=True)) == 30
