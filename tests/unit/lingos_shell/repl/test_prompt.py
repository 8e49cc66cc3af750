"""Keys at the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from lingos_shell.language.completion import Completion
from lingos_shell.repl.prompt import Prompt

PASTE = "\x1b[200~{}\x1b[201~"
ALT_ENTER, F3, F4 = "\x1b\r", "\x1bOR", "\x1bOS"


@pytest.fixture
async def keyboard() -> AsyncIterator[PipeInput]:
    """Takes what is typed."""
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        yield typed


@pytest.fixture
def prompt(keyboard: PipeInput, tmp_path: Path) -> Prompt:
    """A prompt whose completion knows one name."""

    async def complete(text: str) -> list[Completion]:
        return [Completion("/text.chunk", 0, "Split.")] if text.startswith("/t") else []

    return Prompt(
        SimpleNamespace(complete=complete),  # type: ignore[arg-type]
        tmp_path / "state" / "history",
        toolbar=lambda: "",
        editing="emacs",
        has_colour=True,
    )


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("hello\r", "hello"),
        ("你好，世界\r", "你好，世界"),
        (PASTE.format("one\ntwo") + "\r", "one\ntwo"),
        (f"one{ALT_ENTER}two\r", "one\ntwo"),
        ('"""one\rtwo"""\r', '"""one\ntwo"""'),
        ("one\\\rtwo\r", "one\\\ntwo"),
        (f"{F3}one\rtwo{ALT_ENTER}", "one\ntwo"),
        ("gone\x03kept\r", "kept"),
        ("\x03kept\r", "kept"),
        ("abc\x01x\r", "xabc"),
        (f"{F4}abc\x1bxa!\r", "ab!"),
        (f"{F4}one two three\x1b0dwA four\x1bbcwend\r", "two three end"),
        (f"{F4}one\x1bddinew\r", "new"),
        ("/t\t\r\r", "/text.chunk"),
    ],
)
async def test_what_is_typed_is_read(
    prompt: Prompt, keyboard: PipeInput, keys: str, text: str
) -> None:
    """Pasted and multi-line text, Ctrl-C, emacs and vi keys, the menu."""
    if "\t" in keys:
        reading = asyncio.ensure_future(prompt.read())
        before, after = keys.split("\t")
        keyboard.send_text(before)
        buffer = prompt.session.default_buffer
        while not (buffer.complete_state and buffer.complete_state.completions):
            await asyncio.sleep(0.01)
        keyboard.send_text(f"\t{after}")
        assert await reading == text
        return
    keyboard.send_text(keys)
    assert await prompt.read() == text


async def test_ctrl_d_leaves_on_an_empty_line_only(prompt: Prompt, keyboard: PipeInput) -> None:
    """On others it deletes, as always."""
    keyboard.send_text("ab\x01\x04\r")
    assert await prompt.read() == "b"
    keyboard.send_text("\x04")
    with pytest.raises(EOFError):
        await prompt.read()


async def test_f4_changes_the_mode(prompt: Prompt, keyboard: PipeInput) -> None:
    """And the toolbar says which it is."""
    keyboard.send_text(f"{F4}x\r")
    await prompt.read()
    assert prompt.session.editing_mode is EditingMode.VI


@pytest.mark.parametrize("keys", ["\x18\x05", f"{F4}\x1bv"])
async def test_an_editor_writes_the_message(
    prompt: Prompt, keyboard: PipeInput, keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it leaves behind is sent, whether emacs or vi keys opened it."""
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf ' of two\\nlines' >> \"$1\"\n", encoding="utf-8")
    editor.chmod(0o755)
    monkeypatch.setenv("VISUAL", str(editor))
    keyboard.send_text(f"a text{keys}")
    assert await asyncio.wait_for(prompt.read(), 20) == "a text of two\nlines"


async def test_a_grey_suggestion_is_taken(prompt: Prompt, keyboard: PipeInput) -> None:
    """Ctrl-E takes the rest of what was sent before."""
    keyboard.send_text("What is a mutex?\r")
    await prompt.read()
    reading = asyncio.ensure_future(prompt.read())
    keyboard.send_text("What")
    buffer = prompt.session.default_buffer
    while buffer.suggestion is None or buffer.suggestion.text != " is a mutex?":
        await asyncio.sleep(0.01)
    keyboard.send_text("\x05\r")
    assert await reading == "What is a mutex?"


async def test_history_is_private_and_leaves_out_what_begins_with_a_blank(
    prompt: Prompt, keyboard: PipeInput, tmp_path: Path
) -> None:
    """As shells do it."""
    keyboard.send_text("kept\r secret\r\x10\r")
    texts: list[Any] = [await prompt.read() for _ in range(2)]
    file = tmp_path / "state" / "history"
    assert "kept" in file.read_text()
    assert "secret" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert texts == ["kept", " secret"]
