"""The bottom line of the terminal while an answer is written: the text scrolls above it.

The scrolling region (DECSTBM) leaves the last line out, as apt does for its progress bar, so that
nothing that was written has to be drawn again.
"""

from __future__ import annotations

import shutil
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from prompt_toolkit.utils import get_cwidth

SAVE, RESTORE, CLEAR_LINE = "\x1b7", "\x1b8", "\x1b[2K"
REVERSE, RESET = "\x1b[7m", "\x1b[0m"
Write = Callable[[str], None]


class StatusLine:
    """Use `with line.shown():`; `update` changes the text."""

    def __init__(self, write: Write, *, has_colour: bool) -> None:
        self._write = write
        self._style = (REVERSE, RESET) if has_colour else ("", "")
        self._size: tuple[int, int] | None = None
        self._text = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the last line for the status, and the keyboard's echo off, within the block."""
        self._write("\n\x1b[1A")  # there is a free line below the cursor now
        self._reserve()
        try:
            with quiet_keyboard():
                yield
        finally:
            self._release()

    def update(self, text: str) -> None:
        """Show a text; what is too long is cut."""
        if self._size is None:
            return
        if self._size != _terminal_size():
            self._reserve()
        columns, rows = self._size
        shown = _cut(text, columns)
        if shown != self._text:
            self._text = shown
            begin, end = self._style
            self._write(f"{SAVE}\x1b[{rows};1H{CLEAR_LINE}{begin}{shown}{end}{RESTORE}")

    def _reserve(self) -> None:
        before, self._size = self._size, _terminal_size()
        columns, rows = self._size
        if before is not None and before[1] < rows:  # the old line is text's place now
            self._write(f"{SAVE}\x1b[{before[1]};1H{CLEAR_LINE}{RESTORE}")
        self._text = ""
        if rows < 4 or columns < 20:
            self._size = None
            return
        self._write(f"{SAVE}\x1b[1;{rows - 1}r{RESTORE}")

    def _release(self) -> None:
        if self._size is not None:
            _, rows = self._size
            self._write(f"{SAVE}\x1b[r\x1b[{rows};1H{CLEAR_LINE}{RESTORE}")
            self._size = None


@contextmanager
def quiet_keyboard() -> Iterator[None]:
    """Keys are not echoed and wait for the next prompt; Ctrl-C still interrupts."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    quiet = termios.tcgetattr(sys.stdin)
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _terminal_size() -> tuple[int, int]:
    size = shutil.get_terminal_size()
    return size.columns, size.lines


def _cut(text: str, columns: int) -> str:
    while get_cwidth(text) > columns:
        text = text[:-1]
    return text
