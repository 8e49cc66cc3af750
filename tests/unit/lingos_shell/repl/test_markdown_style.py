"""Colours are added, characters never changed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_shell.repl.markdown_style import BOLD, CODE, DIM, HEADING, MAX_MARK, MarkdownStyle, safe

SEQUENCE = re.compile(r"\x1b\[[0-9;]*m")
markdown = st.lists(
    st.one_of(
        st.text(max_size=5),
        st.sampled_from(
            ["# ", "\n", "```", "```py\n", "**", "*", "`", "_", "> ", "- ", "1. ", " "]
        ),
    ),
    max_size=20,
)


def styled(*pieces: str) -> str:
    """All that is written of streamed pieces."""
    style = MarkdownStyle()
    return "".join([*(style.push(piece) for piece in pieces), style.finish()])


@given(markdown)
@settings(max_examples=300, deadline=None)
def test_the_characters_stay(pieces: list[str]) -> None:
    """Without the colours the text is the source, however it was cut; control characters go."""
    whole = "".join(pieces)
    assert SEQUENCE.sub("", styled(*pieces)) == safe(whole)
    assert SEQUENCE.sub("", styled(*whole)) == safe(whole)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title\ntext", f"{HEADING}# Title"),
        ("a **b** c", f"{BOLD}**b**"),
        ("a `b` c", f"{CODE}`b`"),
        ("```py\nx = `1`\n```\nz", f"{CODE}x = `1`"),
        ("> said", f"{DIM}> said"),
    ],
)
def test_marks_have_their_styles(text: str, expected: str) -> None:
    """Headings, emphasis, code, fences and quotes."""
    assert expected in styled(text)


@pytest.mark.parametrize("text", ["2 * 3 * 4", "snake_case_name", "a ** b", "* * *"])
def test_plain_marks_stay_plain(text: str) -> None:
    """A star between blanks is a star."""
    assert BOLD not in styled(text)
    assert "\x1b[3m" not in styled(text)


def test_a_model_cannot_move_the_cursor() -> None:
    """Escape sequences in an answer are taken apart."""
    assert "\x1b[2J" not in styled("\x1b[2Jgone\x9b2J\x07")


def test_the_work_is_linear() -> None:
    """Each piece is looked at once: next to nothing is held back, however long the text is."""
    for unit in ("word **bold** and `code` ", "- a line\n", "```\ncode\n"):
        style = MarkdownStyle()
        for piece in unit * 1_000:
            style.push(piece)
            assert len(style._held) < MAX_MARK
