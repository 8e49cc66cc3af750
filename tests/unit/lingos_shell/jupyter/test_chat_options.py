"""Tests of the first line of a `%%chat` cell."""

from __future__ import annotations

import pytest

from lingos_kernel.errors import InvalidArguments
from lingos_shell.jupyter.chat_options import parse_chat_options


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("", []),
        ("temperature 0.7", [("temperature", "0.7")]),
        ("--model m --seed=4", [("model", "m"), ("seed", "4")]),
        ("system='Be brief.' top_k=3", [("system", "Be brief."), ("top_k", "3")]),
    ],
)
def test_settings_are_named_in_any_usual_way(line: str, options: list[tuple[str, str]]) -> None:
    """Options, assignments and bare pairs say the same."""
    assert parse_chat_options(line) == options


@pytest.mark.parametrize("line", ["--seed", "seed 1 model", "system 'open"])
def test_a_setting_without_a_value_is_refused(line: str) -> None:
    """What is not whole is told, not guessed."""
    with pytest.raises(InvalidArguments):
        parse_chat_options(line)
