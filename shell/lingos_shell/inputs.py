"""What a command reads: standard input, files and JSON given on the command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_shell.output import is_terminal


def piped_input() -> str | None:
    """All of stdin as text when it is not a terminal, else None. Raises `InvalidArguments`."""
    if sys.stdin is None or sys.stdin.closed or is_terminal(sys.stdin):
        return None
    return decode(sys.stdin.buffer.read(), "standard input")


def read_text(path: str) -> str:
    """A file's text; `-` is stdin. Raises `InvalidArguments`."""
    if path == "-":
        return piped_input() or ""
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidArguments(
            f"cannot read {path}: {reason}", hint="give a file that you may read"
        ) from None
    return decode(content, path)


def decode(content: bytes, source: str) -> str:
    """UTF-8 bytes as text; a leading byte-order mark is dropped. Raises `InvalidArguments`."""
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidArguments(
            f"{source} is not valid UTF-8: byte 0x{content[error.start]:02x} at offset"
            f" {error.start}",
            hint="convert it first, for example with `iconv -f LATIN1 -t UTF-8`",
        ) from None


def require_unicode(text: str, what: str) -> str:
    """The text, unless it came from bytes that were not UTF-8. Raises `InvalidArguments`."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArguments(
            f"{what} is not valid UTF-8 at character {error.start}",
            hint="type it in UTF-8, or pipe a UTF-8 file in",
        ) from None
    return text


def json_object(text_or_path: str, what: str) -> dict[str, Any]:
    """A JSON object given as text or as the name of a file. Raises `InvalidArguments`."""
    is_inline = text_or_path.lstrip().startswith(("{", "["))
    text = text_or_path if is_inline else read_text(text_or_path.removeprefix("@"))
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidArguments(
            f"{what} is not valid JSON: {error}", hint="give a JSON object, or a file holding one"
        ) from None
    if not isinstance(value, dict):
        raise InvalidArguments(
            f"{what} must be a JSON object, not {type(value).__name__}",
            hint='for example {"type": "object", "properties": {}}',
        )
    return value
