"""The screen of plugins: what they cost, turning them on and off, watching them."""

from __future__ import annotations

from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.screens.plugins import about_lines, turned_text
from lingos_shell.tui.spans import plain

ROW = {
    "name": "text", "distribution": "lingos", "version": "1.0", "module": "lingos_text",
    "state": "failed", "error": "plugin text: it broke", "provides": {"syscalls": ("text.ask",)},
    "hooks": [{"hook": "lingos_after_syscall", "calls": 10, "seconds": 0.001, "errors": 1}],
}  # fmt: skip


async def test_disable_and_enable(stage) -> None:
    """Asked, told, seen at once."""
    async with stage("plugins", plugins="text") as s:
        await s.sees("text", "loaded", "built in")
        listing = s.app.screen.query_one(Listing)
        listing.grid.cursor = next(row.key for row in listing.grid.rows if row.key[0] == "text")
        await s.sees("text.summarize")
        await s.press("d")
        await s.sees("Turn text off?")
        await s.press("y")
        await s.until(lambda: listing.selected["state"] == "disabled")
        assert listing.selected["enabled"] is False
        await s.press("e")
        await s.until(lambda: listing.selected["state"] == "loaded")
        assert "text: loaded" in s.told()


async def test_trace(stage) -> None:
    """Its calls are shown as they happen."""
    async with stage("plugins") as s:
        await s.sees("built in")
        listing = s.app.screen.query_one(Listing)
        listing.grid.cursor = next(row.key for row in listing.grid.rows if row.key[0] == "sys")
        await s.press("t")
        await s.sees("Trace of the plugin sys", "sys.snapshot = ok")
        await s.press("escape")
        assert len(s.app.screen_stack) == 1


async def test_built_in_and_readonly(stage) -> None:
    """The kernel's own cannot be turned off; with --readonly none can."""
    async with stage("plugins") as s:
        await s.sees("built in")
        await s.press("e")
        await s.until(lambda: "built in" in s.told())
        s.app.is_readonly = True
        await s.press("d")
        await s.until(lambda: "--readonly" in s.told())


def test_about_a_plugin() -> None:
    """Error, syscalls, and what each hook cost."""
    text = "\n".join(plain(line) for line in about_lines(ROW, 80))
    for words in ("it broke", "text.ask", "10 calls", "100 µs each", "1 failed"):
        assert words in text


def test_what_waits_is_said() -> None:
    """Services change with the kernel, commands with the interface."""
    done = {
        "name": "x", "state": "disabled", "error": "", "after_restart": ["services"],
        "in_front_ends": ["commands", "panes"],
    }  # fmt: skip
    text = turned_text(done)
    assert "services change when the kernel is restarted" in text
    assert "commands and panes change when `lingos` is started again" in text
