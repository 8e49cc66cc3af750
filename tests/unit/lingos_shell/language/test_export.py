"""Conversations as files: Markdown, JSON, and notebooks whose cells mean what was said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lingos_kernel.errors import InvalidArguments
from lingos_shell.jupyter.interpolation import interpolate
from lingos_shell.language.export import exported, in_cell
from lingos_shell.language.reading import Reader
from lingos_shell.language.running_text import WHOLE_MESSAGE, read_running_text
from lingos_shell.language.syntax import Text

SHOWN: dict[str, Any] = {
    "name": "talk",
    "model": "scripted",
    "tokens": 60,
    "messages": [
        {"role": "system", "content": 'Be "brief".\n$5', "end": 10, "whole": True},
        {"role": "user", "content": "What is {x} in @file, $name?", "end": 20, "whole": True},
        {"role": "assistant", "content": "**Forty-two**", "end": 30, "whole": True},
        {"role": "user", "content": "a\nb", "end": 40, "whole": True},
        {
            "role": "assistant", "content": "", "end": 50, "whole": True,
            "tool_calls": [{"function": {"name": "sys.ping", "arguments": {}}}],
        },
        {"role": "tool", "name": "sys.ping", "content": "pong", "end": 55, "whole": True},
        {"role": "assistant", "content": "cut of", "end": 60, "whole": False},
    ],
}  # fmt: skip


def test_markdown() -> None:
    """Every message under its role, as it was said."""
    text = exported(SHOWN, "talk.md")
    assert text.startswith("# talk\n")
    assert "## You\n\nWhat is {x} in @file, $name?\n" in text
    assert "## Model\n\n**Forty-two**" in text
    assert '"name": "sys.ping"' in text
    assert "cut of" not in text


def test_json() -> None:
    """Everything that the kernel tells of it."""
    assert json.loads(exported(SHOWN, "x.json")) == SHOWN


def test_a_notebook() -> None:
    """Valid nbformat: a cell per message, the answer is its output."""
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.reads(exported(SHOWN, "talk.ipynb"), as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "lingos"
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert sources[0] == "/model scripted"
    assert sources[1] == '/set system "Be \\"brief\\".\\n\\$5"'
    assert sources[2] == r"? What is {{x}} in \@file, \$name?"
    assert sources[3] == "? a\nb"
    outputs = next(cell.outputs for cell in notebook.cells if cell.source == sources[2])
    assert outputs[0].data["text/markdown"] == "**Forty-two**"
    last = notebook.cells[-1].outputs
    assert len(last) == 2
    assert "pong" in last[1].data["text/plain"]


def test_other_suffixes_are_refused() -> None:
    """The error names those that there are."""
    with pytest.raises(InvalidArguments) as raised:
        exported(SHOWN, "talk.doc")
    assert ".ipynb" in raised.value.hint


@given(st.text(alphabet=st.sampled_from("ab \\$@{}|&\n/!#>\"'-xy.1")).map(str.strip))
@example("{x}")
@example("{{x}}")
@example("$name ${name} @file | /ctx &")
@example("-t 3")
def test_a_cell_means_what_was_said(text: str) -> None:
    """Whatever the message holds, the cell sends just that."""
    if not text:
        return
    found = interpolate(in_cell(text))
    reader = Reader(found.text)
    word = read_running_text(reader, WHOLE_MESSAGE)
    if found.expressions:
        (source,) = found.expressions.values()
        assert eval(source) == text  # the fallback: the message as a Python string
    else:
        assert word.parts == (Text(text),)
        assert not reader.peek()


async def test_the_word(shell: Any, sink: Any) -> None:
    """/export writes the session that is open, or another; without one it says so."""
    await shell.run("/export out.md", sink)
    assert "no session" in sink.error.message
    sink.events.clear()
    await shell.run("Hello", sink)
    await shell.run("/export out.md", sink)
    assert "## You\n\nHello" in Path("out.md").read_text(encoding="utf-8")
    await shell.run("/clear", sink)
    await shell.run("/export out.json --session hello", sink)
    assert json.loads(Path("out.json").read_text(encoding="utf-8"))["name"] == "hello"
    assert sink.error is None


async def test_attaching_to_a_session(shell: Any, sink: Any) -> None:
    """/session attach NAME is /session NAME; two names are none."""
    await shell.run("Hello", sink)
    await shell.run("/clear", sink)
    await shell.run("/session attach hello", sink)
    assert shell.conversation.name == "hello"
    await shell.run("/session one two", sink)
    assert "one name" in sink.error.message
