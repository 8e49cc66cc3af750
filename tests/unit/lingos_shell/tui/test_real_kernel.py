"""The interface on a whole kernel with a scripted engine: its actions act."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from lingos_kernel.client.local import LocalClient
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.tui.app import LingOSApp
from lingos_shell.tui.scheduler.pane import SchedulerPane
from lingos_shell.tui.sessions.view import SessionView


async def until(pilot: Any, condition: Any) -> None:
    """Wait until something is so."""
    for _ in range(1000):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("it did not come to be")


async def test_a_conversation_and_acting_on_processes(tmp_path: Path) -> None:
    """What is typed is answered; another process is reniced, stopped and killed by keys."""
    async with scripted_kernel(tmp_path) as kernel:

        async def connect(_may_start: bool) -> LocalClient:
            return LocalClient(kernel)

        other = LocalClient(kernel)
        pid = (await other.call("proc.open", command="the other one"))["pid"]
        app = LingOSApp(connect, period_s=0.02)
        async with app.run_test(size=(160, 45)) as pilot:
            for key in ("h", "i", "enter"):
                await pilot.press(key)
            view = app.query_one(SessionView)
            await until(pilot, lambda: view.session.name == "hi" and not view.is_running)
            assert [entry.plain for entry in view.transcript.entries] == ["hi", "hi"]
            pane = app.screen.query_one(SchedulerPane)
            await until(pilot, lambda: any(row.key == pid for row in pane.rows))
            await pilot.press("tab")
            pane.grid.cursor = pid
            process = kernel.processes.get(pid)
            await pilot.press("f7")
            await until(pilot, lambda: process.priority == -1)
            await pilot.press("S")
            await until(pilot, lambda: process.state == "stopped")
            await until(
                pilot, lambda: pane.grid.selected and pane.grid.selected.item.row.state == "stopped"
            )
            await pilot.press("S")
            await until(pilot, lambda: process.state != "stopped")
            await pilot.press("k")
            await until(pilot, lambda: len(app.screen_stack) == 2)
            await pilot.press("down", "enter")
            await until(pilot, lambda: all(row.key != pid for row in pane.rows))
        await other.close()


def test_the_interface_imports_nothing_heavy() -> None:
    """No torch in this process, and no Markdown or syntax parser before the first answer."""
    code = (
        "import sys, lingos_shell.tui.start, lingos_shell.tui.app, lingos_shell.tui.main_screen,"
        "lingos_shell.tui.scheduler.screen; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"torch", "transformers", "numpy", "markdown_it", "tree_sitter", "pygments", "pydantic"}
    assert loaded & heavy == set()
