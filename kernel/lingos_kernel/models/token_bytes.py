"""What bytes a vocabulary entry stands for."""

from __future__ import annotations

import functools
import re

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@functools.cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for U+0100 onward."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(0x100 + index): byte for index, byte in enumerate(others)}


def byte_level_bytes(token: str) -> bytes:
    """The bytes of a byte-level entry; one with foreign characters stands for its own text."""
    alphabet = _byte_of_character()
    try:
        return bytes([alphabet[character] for character in token])
    except KeyError:
        return token.encode()


def fallback_byte(token: str) -> int | None:
    """The byte of an entry like `<0xE4>`; None for all other entries."""
    match = _BYTE_TOKEN.fullmatch(token)
    return int(match[1], 16) if match else None


def token_to_bytes(token: str, decoder_type: str) -> bytes:
    """The bytes of an entry under a kind of decoder, in the middle of a text."""
    if decoder_type == "ByteLevel":
        return byte_level_bytes(token)
    byte = fallback_byte(token) if decoder_type == "ByteFallback" else None
    return bytes([byte]) if byte is not None else token.replace("▁", " ").encode()
