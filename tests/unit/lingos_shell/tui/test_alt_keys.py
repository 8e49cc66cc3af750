"""Alt keys as ordinary terminals send them."""

from __future__ import annotations

from typing import cast

import pytest
from textual import _ansi_sequences, _xterm_parser, events

from lingos_shell.tui.alt_keys import teach


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser's table, changed for one test."""
    changed = dict(_ansi_sequences.ANSI_SEQUENCES_KEYS)
    teach(changed)
    monkeypatch.setattr(_xterm_parser, "ANSI_SEQUENCES_KEYS", changed)


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("\x1bp", ["alt+p"]),
        ("\x1b1\x1b9", ["alt+1", "alt+9"]),
        ("\x1b\r", ["alt+enter"]),
        ("\x1bra", ["alt+r", "a"]),
        ("\x1bb\x1bf", ["ctrl+left", "ctrl+right"]),
        ("\x1b[1;3C", ["alt+right"]),
        ("\x1bOP\x1b[1;2Q", ["f1", "shift+f2"]),
        ("1\r¡", ["1", "enter", "inverted_exclamation_mark"]),
    ],
)
def test_a_key_is_told_from_its_letter(sent: str, keys: list[str]) -> None:
    """Alt is a key and writes nothing; all other sequences are what they were."""
    found = [cast("events.Key", token) for token in _xterm_parser.XTermParser().feed(sent)]
    assert [key.key for key in found] == keys
    assert not any(key.is_printable for key in found if "+" in key.key)
