"""What a command writes: data on stdout, narration on stderr, each flushed at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class OutputClosed(Exception):
    """Raised when whoever reads stdout has gone (`| head`); the command ends quietly."""


def write(text: str) -> None:
    """Write data to stdout as it is. Raises `OutputClosed` when nobody reads it any more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def write_line(text: str = "") -> None:
    """Write one line of data."""
    write(text + "\n")


def write_json(data: Any) -> None:
    """Write one JSON document, indented."""
    import msgspec

    write_line(msgspec.json.format(_encode(data), indent=2).decode())


def write_json_line(data: Any) -> None:
    """Write one line of newline-delimited JSON."""
    write_line(_encode(data).decode())


def write_table(*renderables: RenderableType) -> None:
    """Write rich renderables to stdout: coloured on a terminal, plain text elsewhere."""
    console = _console(sys.stdout)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    text = captured.get()
    if not is_terminal(sys.stdout):
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    write(text)


def narrate(text: str) -> None:
    """Say something to the person on stderr, where no program looks for data."""
    if sys.stderr is None or sys.stderr.closed:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        # Nobody listens to narration; that is no reason to stop the work.
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Send what is still buffered in a broken stream to nowhere, so that leaving is quiet."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, stream.fileno())
    os.close(descriptor)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person sits at the stream."""
    return stream is not None and not stream.closed and stream.isatty()


def is_screen() -> bool:
    """Whether a person sits at a terminal on which whole screens can be drawn."""
    is_smart = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return is_smart and all(map(is_terminal, (sys.stdin, sys.stdout, sys.stderr)))


def _encode(data: Any) -> bytes:
    import msgspec

    return msgspec.json.encode(data, enc_hook=_path_as_text)


def _path_as_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} is no JSON")


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Piped tables keep their columns instead of being folded at 80 characters.
    width = None if is_terminal(stream) else 10_000
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)
