"""The screen of syscalls: find one, fill in its form, run it, copy it as a command."""

from __future__ import annotations

from pathlib import Path

from textual.widgets import Input, Select, TextArea, Tree

from lingos_shell.tui.markdown import MarkdownLines
from lingos_shell.tui.screens.form_view import FieldView


async def find(s, words: str) -> None:
    """Search for a syscall and open the first one found."""
    await s.until(lambda: s.app.screen.query_one(Tree).root.children)
    await s.press("f3")
    s.app.screen.query_one("#search", Input).value = words
    await s.pilot.pause()
    await s.press("enter")
    await s.sees(f"/{words.split()[0]}")


def fill(s, name: str, text: str) -> None:
    """Type a value into a field."""
    view = next(v for v in s.app.screen.query(FieldView) if v.field.name == name)
    editor = view.editor
    if isinstance(editor, TextArea):
        editor.text = text
    else:
        assert isinstance(editor, Input | Select)
        editor.value = text


async def test_browse(stage) -> None:
    """The tree is by prefix; a syscall shows its summary, capability, cost, types and defaults."""
    async with stage("syscalls") as s:
        await s.sees("audit", "ctx", "verify")
        await find(s, "proc.kill")
        await s.sees("Send a signal to a process.", "Capability: proc.kill", "pid *  integer")
        await s.sees("TERM|KILL|STOP|CONT", "default: TERM", "cost: io")


async def test_run_shows_a_table(stage) -> None:
    """Rows that are alike are a table."""
    async with stage("syscalls", size=(160, 50)) as s:
        await find(s, "model.list")
        await s.press("f5")
        await s.sees("done in", "2 rows", "scripted-embedder", "name")


async def test_run_streams_text(stage) -> None:
    """An answer is shown as Markdown while it comes."""
    async with stage("syscalls") as s:
        await find(s, "llm.complete")
        fill(s, "prompt", "hello there")
        await s.press("ctrl+r")
        await s.sees("done in")
        assert "hello there" in s.app.screen.query_one(MarkdownLines).source


async def test_what_is_wrong_is_told_at_its_field(stage) -> None:
    """Required fields, numbers, JSON: nothing is called before the form is right."""
    async with stage("syscalls") as s:
        await find(s, "ctx.create")
        await s.press("f5")
        await s.sees("this is required")
        fill(s, "name", "mine")
        fill(s, "messages", '[{"role": ')
        await s.press("f5")
        await s.sees("is not valid JSON")
        fill(s, "messages", '[{"role": "user", "content": "hi"}]')
        await s.press("f5")
        await s.sees("done in")
        assert "this is required" not in s.text()
        assert len(await s.client.call("ctx.list")) == 1


async def test_a_choice_and_a_confirmation(stage) -> None:
    """An enum is a list to choose from; a syscall that asks is asked about with its command."""
    async with stage("syscalls") as s:
        pid = (await s.client.call("proc.open", command="other"))["pid"]
        await find(s, "proc.kill")
        fill(s, "pid", str(pid))
        fill(s, "signal", "STOP")
        await s.press("f5")
        await s.sees("done in")
        assert s.kernel.processes.get(pid).state == "stopped"
        await find(s, "model.remove")
        fill(s, "name", "scripted-embedder")
        await s.press("f5")
        await s.sees("/model.remove --name=scripted-embedder", "Run it?")
        await s.press("n")
        assert len(await s.client.call("model.list")) == 2


async def test_errors_are_shown_with_their_hint(stage) -> None:
    """Message and hint stand where the result would."""
    async with stage("syscalls") as s:
        await find(s, "model.show")
        fill(s, "name", "scriptet")
        await s.press("f5")
        await s.sees("failed", "scripted")


async def test_copy_as_command(stage) -> None:
    """The line of the shell's language that makes the call is in the clipboard."""
    async with stage("syscalls") as s:
        await find(s, "llm.tokenize")
        fill(s, "text", "a $b c")
        await s.press("f6")
        await s.until(lambda: s.app.clipboard)
        assert s.app.clipboard == '/llm.tokenize --text="a \\$b c"'


async def test_files(stage, tmp_path: Path) -> None:
    """@file stands for its text; one that is not there is told at the field."""
    (tmp_path / "a.txt").write_text("from a file", encoding="utf-8")
    async with stage("syscalls") as s:
        await find(s, "llm.complete")
        fill(s, "prompt", "@/no/such/file")
        await s.press("f5")
        await s.sees("cannot read /no/such/file")
        fill(s, "prompt", f"@{tmp_path / 'a.txt'}")
        await s.press("f5")
        await s.sees("done in")
        assert "from a file" in s.app.screen.query_one(MarkdownLines).source


async def test_escape_cancels(stage) -> None:
    """The call ends in the kernel too; Escape again goes to the tree."""
    async with stage("syscalls") as s:
        await find(s, "audit.tail")
        fill(s, "follow", "true")
        await s.press("f5")
        await s.sees("sys.")
        await s.press("escape")
        await s.sees("cancelled")

        def ended() -> bool:
            return any(c.syscall == "audit.tail" for c in s.kernel.dispatcher.books.finished(50))

        await s.until(ended)
        await s.press("escape")
        assert isinstance(s.app.focused, Tree)


async def test_readonly(stage) -> None:
    """Forms can be read and copied, not run."""
    async with stage("syscalls", is_readonly=True) as s:
        await find(s, "sys.noop")
        await s.press("f5")
        await s.until(lambda: "--readonly" in s.told())
