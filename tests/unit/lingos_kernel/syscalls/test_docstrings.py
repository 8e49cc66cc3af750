"""Docstrings as help."""

from __future__ import annotations

from lingos_kernel.syscalls.docstrings import Docs, parse_docstring


def test_nothing_to_say() -> None:
    """No docstring, no help."""
    assert parse_docstring(None) == parse_docstring("  ") == Docs("", "", {})


def test_sections() -> None:
    """Arguments are taken out wherever they stand; other sections stay in the help."""
    docs = parse_docstring(
        """Say it
        shortly.

        Args:
            one: the first: with a colon
            two (int): the second,
                on two lines

                and a paragraph
            **rest: others

        Raises:
            ValueError: when it is wrong
        """
    )
    assert docs.summary == "Say it shortly."
    assert docs.arguments == {
        "one": "the first: with a colon",
        "two": "the second, on two lines and a paragraph",
        "rest": "others",
    }
    assert docs.help == "Raises:\n    ValueError: when it is wrong"


def test_text_after_the_arguments() -> None:
    """Unindented text ends the section."""
    docs = parse_docstring("Do.\n\nArgs:\n    a: it\nMore text: here.")
    assert docs.arguments == {"a": "it"}
    assert docs.help == "More text: here."
