"""Where the text comes from: given as it is, or read from a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from pydantic import Field

from lingos_kernel.errors import EmptyPrompt, InvalidArguments

Text = Annotated[str | None, Field(description="the text itself")]
File = Annotated[Path | None, Field(description="a text file (UTF-8) to read instead")]
Model = Annotated[str | None, Field(description="a stored model; the default when not given")]


async def read(text: str | None, file: Path | None) -> str:
    """The text that was given, one way or the other.

    Raises `InvalidArguments` when both or neither are given, or the file cannot be read as
    UTF-8, and `EmptyPrompt` when nothing but white space is there.
    """
    if (text is None) == (file is None):
        raise InvalidArguments(
            "give either text or file", hint='for example: text="..." or file=report.txt'
        )
    content = text if text is not None else await asyncio.to_thread(_read_file, Path(str(file)))
    if not content.strip():
        raise EmptyPrompt("there is no text", hint="the text or file holds only white space")
    return content


def _read_file(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArguments(
            f"{file} is not UTF-8 text: byte {error.start} is wrong",
            hint="convert it first, for example with iconv",
        ) from error
    except OSError as error:
        raise InvalidArguments(
            f"cannot read {file}: {error.strerror}", hint="check the path and its permissions"
        ) from error
