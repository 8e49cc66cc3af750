"""Alt with a letter, a digit or Enter, as terminals send it: an escape before the character.

Textual's parser takes such a key for the letter itself, which text fields then write down, for a
character of a Mac's keyboard (`Alt+1`: ¡), or for Enter alone. Terminals with the Kitty protocol
tell the key apart without this.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from string import ascii_lowercase, digits
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class AltKey:
    """What the parser's table holds of a key: its name."""

    value: str


def teach(table: MutableMapping[str, Any] | None = None) -> None:
    """Put the keys into the parser's table; words are still skipped by Alt+B and Alt+F."""
    if table is None:
        from textual._ansi_sequences import ANSI_SEQUENCES_KEYS

        table = cast("MutableMapping[str, Any]", ANSI_SEQUENCES_KEYS)
    for letter in ascii_lowercase:
        table.setdefault(f"\x1b{letter}", (AltKey(f"alt+{letter}"),))
    for digit in digits:
        table[f"\x1b{digit}"] = (AltKey(f"alt+{digit}"),)
    table["\x1b\r"] = (AltKey("alt+enter"),)
