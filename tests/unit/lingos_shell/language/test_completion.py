"""What is offered at the cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import KernelUnavailable


async def offered(shell: Any, text: str) -> list[str]:
    """The texts after each proposal was taken."""
    return [text[: found.start] + found.text for found in await shell.complete(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ps", "/ps"),
        ("/chunk", "/text.chunk"),
        ("Hello | /text.key", "Hello | /text.keywords"),
        ("x = /ll", "x = /llm.chat"),
        ("/llm.chat --temp", "/llm.chat --temperature "),
        ("/llm.chat --model scr", "/llm.chat --model scripted"),
        ("/llm.chat model=scr", "/llm.chat model=scripted"),
        ("/llm.chat tool_choice=req", "/llm.chat tool_choice=required"),
        ("/model scr", "/model scripted"),
        ("/kill ", "/kill 1"),
        ("/kill 1 ST", "/kill 1 STOP"),
        ("/help text.ch", "/help text.chunk"),
        ("/set sys", "/set system "),
        ("/text.chunk file=no", "/text.chunk file=notes.md"),
        ("see @no", "see @notes.md"),
        ("see @ur", "see @url:"),
        ("!cat no", "!cat notes.md"),
        ("/ps > no", "/ps > notes.md"),
        ("/cd sub", "/cd sub/"),
        ("say $an", "say $answer"),
        ("say $answer.te", "say $answer.text"),
        ('see @"my', 'see @"my notes.md"'),
        ("don't you see @no", "don't you see @notes.md"),
        ('/text.chunk "a b" --tok', '/text.chunk "a b" --tokens '),
        ("/text.chunk text='a b' --tok", "/text.chunk text='a b' --tokens "),
        ('/text.chunk "a b" file="my', '/text.chunk "a b" file="my notes.md"'),
        ('/kill "1" ST', '/kill "1" STOP'),
    ],
)
async def test_a_proposal_is_there(shell: Any, text: str, expected: str) -> None:
    """Names, options, values by their type, files and variables."""
    Path("notes.md").touch()
    Path("my notes.md").touch()
    Path("sub").mkdir()
    shell.variables["answer"] = {"text": "forty-two"}
    assert expected in await offered(shell, text)


async def test_text_is_left_alone(shell: Any) -> None:
    """No menu comes up while somebody writes a message."""
    for text in ("", "Hello", "Hello there, what ", "/nothing --x", "1 | 2"):
        assert await shell.complete(text) == []


async def test_each_proposal_explains_itself(shell: Any) -> None:
    """Syscalls and options come with their help, types first."""
    (chunk,) = [found for found in await shell.complete("/text.chunk") if "chunk" in found.text]
    assert chunk.help.startswith("Split a text")
    (tokens,) = await shell.complete("/text.chunk --tok")
    assert tokens.help.startswith("integer")


async def test_without_a_kernel_nothing_is_offered(shell: Any) -> None:
    """Completion raises nothing, whatever has happened."""

    class Gone:
        async def syscalls(self) -> list[Any]:
            raise KernelUnavailable("gone")

    shell.names._client = Gone()
    assert await shell.complete("/te") == []
