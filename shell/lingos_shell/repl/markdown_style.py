"""Markdown in colours while it streams. The characters stay: what is copied is the source.

Each character is looked at once, whatever the length; only marks that may still become longer
(`*`, a backquote, the beginning of a line) are held back until the next piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

RESET = "\x1b[0m"
BOLD, DIM, ITALIC, CODE, HEADING, BULLET = (
    "\x1b[1m", "\x1b[2m", "\x1b[3m", "\x1b[36m", "\x1b[1;35m", "\x1b[33m",
)  # fmt: skip
MAX_MARK = 8
"""Characters at a line's beginning that decide what it is."""

_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_HEADING = re.compile(r"#{1,6} ")
_BULLET = re.compile(r"\s*(?:[-*+]|\d{1,3}[.)]) ")
_QUOTE = re.compile(r"\s{0,3}> ?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")


def safe(text: str) -> str:
    """The text without control characters, so that a model cannot move the cursor."""
    return _CONTROL.sub("", text)


class MarkdownStyle:
    """Puts escape sequences into streamed Markdown. `push` what comes, then `finish`."""

    def __init__(self) -> None:
        self._held = ""
        self._is_line_start = True
        self._fence = ""
        self._line_style = ""
        self._marks: list[str] = []

    def push(self, text: str) -> str:
        """What can be written by now."""
        return "".join(self._run(self._held + safe(text), is_last=False))

    def finish(self) -> str:
        """What was held back, and the end of all styles."""
        rest = "".join(self._run(self._held, is_last=True))
        self._marks.clear()
        self._line_style = ""
        return rest + RESET

    def _run(self, text: str, *, is_last: bool) -> Iterator[str]:
        self._held = ""
        at = 0
        while at < len(text):
            if self._is_line_start:
                end = text.find("\n", at)
                if end < 0 and len(text) - at < MAX_MARK and not is_last:
                    break
                mark = self._begin_line(text[at:] if end < 0 else text[at:end])
                self._is_line_start = False
                yield from mark
                at += len("".join(mark[1::2]))
                continue
            step = self._inline(text, at, is_last=is_last)
            if step is None:
                break
            styled, at = step
            yield styled
        self._held = text[at:]

    def _begin_line(self, line: str) -> tuple[str, ...]:
        """(style, mark, style after it) of a line's beginning."""
        if found := _FENCE.match(line):
            if not self._fence:
                self._fence = found[1]
                self._line_style = DIM
                return (DIM, found[0], "")
            if found[1].startswith(self._fence) and not line[found.end() :].strip():
                self._fence = ""
                self._line_style = DIM
                return (DIM, found[0], "")
        if self._fence:
            self._line_style = CODE
            return (CODE, "", "")
        if found := _HEADING.match(line):
            self._line_style = HEADING
            return (HEADING, found[0], "")
        if found := _BULLET.match(line):
            return (BULLET, found[0], RESET)
        if found := _QUOTE.match(line):
            self._line_style = DIM
            return (DIM, found[0], "")
        return ("", "", "")

    def _inline(self, text: str, at: int, *, is_last: bool) -> tuple[str, int] | None:
        """The next stretch with its style, and where it ends; None to wait for more."""
        character = text[at]
        if character == "\n":
            self._is_line_start = True
            has_style = bool(self._line_style or self._marks)
            self._marks.clear()
            self._line_style = ""
            return f"{RESET if has_style else ''}\n", at + 1
        if self._line_style or character not in "*`_":
            end = at + 1
            while end < len(text) and text[end] != "\n":
                if not self._line_style and text[end] in "*`_":
                    break
                end += 1
            return text[at:end], end
        return self._mark(text, at, is_last=is_last)

    def _mark(self, text: str, at: int, *, is_last: bool) -> tuple[str, int] | None:
        """Begin or end emphasis or code; other marks are plain characters."""
        end = at
        while end < len(text) and text[end] == text[at]:
            end += 1
        if end == len(text) and not is_last:
            return None
        mark = text[at:end]
        following = text[end] if end < len(text) else " "
        if "`" in self._marks and mark[0] != "`":
            return mark, end
        if mark in self._marks:
            self._marks.remove(mark)
            return f"{mark}{RESET}{self._styles()}", end
        is_word_part = mark[0] == "_" and at > 0 and text[at - 1].isalnum()
        if mark not in _STYLES or following.isspace() or is_word_part:
            return mark, end
        self._marks.append(mark)
        return f"{_STYLES[mark]}{mark}", end

    def _styles(self) -> str:
        return "".join(_STYLES[mark] for mark in self._marks)


_STYLES = {"**": BOLD, "__": BOLD, "*": ITALIC, "_": ITALIC, "`": CODE}
