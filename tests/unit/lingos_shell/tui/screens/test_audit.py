"""Audit and logs: calls as they end, the chain verified, the kernel's log."""

from __future__ import annotations

from lingos_kernel.paths import LOG_NAME
from lingos_shell.tui.screens.audit import verdict
from lingos_shell.tui.screens.audit_columns import log_entry
from lingos_shell.tui.screens.listing import Listing
from lingos_shell.tui.spans import plain


async def test_live_tail(stage) -> None:
    """Calls appear as they end; the pictures' own are hidden until they are wanted."""
    async with stage("audit") as s:
        await s.client.call("llm.tokenize", text="a")
        await s.sees("llm.tokenize(text)", "ok", "following")
        assert "sys.snapshot()" not in s.text()
        await s.press("h")
        await s.sees("sys.snapshot()")
        await s.press("h")
        await s.client.call("sys.version")
        await s.sees("sys.version()")
        await s.press("up")
        await s.sees("held (F follows)")
        await s.press("F")
        await s.sees("following")


async def test_filter(stage) -> None:
    """Only rows that hold the text; Escape shows all again."""
    async with stage("audit") as s:
        await s.client.call("llm.tokenize", text="a")
        await s.client.call("sys.version")
        await s.sees("llm.tokenize(text)", "sys.version()")
        await s.press("slash", *"token")
        await s.sees("filter: token")
        assert "sys.version()" not in s.text()
        await s.press("escape")
        await s.sees("sys.version()")


async def test_details(stage) -> None:
    """Enter shows the whole record with its hash."""
    async with stage("audit") as s:
        await s.client.call("sys.version")
        await s.sees("sys.version()")
        await s.press("enter")
        await s.sees("hash", "call id", "Esc closes")


async def test_verify(stage) -> None:
    """Intact, or where it broke."""
    async with stage("audit") as s:
        await s.client.call("llm.tokenize", text="a")
        await s.sees("llm.tokenize(text)")
        await s.press("f5")
        await s.sees("intact", "records")
        path = s.kernel.audit.path
        path.write_bytes(path.read_bytes().replace(b"llm.tokenize", b"llm.tokenise"))
        await s.press("v")
        await s.sees("BROKEN", "audit.jsonl line")


async def test_kernel_log(stage) -> None:
    """The log has its levels; lines that come later appear."""
    async with stage("audit") as s:
        path = s.kernel.config.paths.state_dir / LOG_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("2026-01-02 03:04:05,678 WARNING lingos.x: mind: it\n", encoding="utf-8")
        await s.press("right")
        await s.sees("03:04:05", "warning", "lingos.x", "mind: it")
        await s.press("1")
        assert s.app.screen.query_one("#audit", Listing).display


def test_parts_of_a_line() -> None:
    """A line of a traceback is text alone."""
    entry = log_entry("2026-01-02 03:04:05,678 ERROR a.b: c: d")
    assert entry == {"time": "2026-01-02 03:04:05", "level": "ERROR", "who": "a.b", "text": "c: d"}
    assert log_entry("  File x")["text"] == "  File x"


def test_verdicts() -> None:
    """What verifying found in a line."""
    found = {
        "intact": True, "records": 3, "head": "ab" * 32, "lost_records": 2, "bad_line": None,
        "reason": "", "bad_file": "", "is_complete": False,
    }  # fmt: skip
    text = plain(verdict(found))
    assert "3 records" in text
    assert "2 records were lost" in text
    assert "older files are gone" in text
