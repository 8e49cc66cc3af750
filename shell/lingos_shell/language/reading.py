"""A place in the source, and the errors that point at it."""

from __future__ import annotations

import unicodedata

from lingos_kernel.errors import InvalidScript

SHOWN = 72
"""Characters of a long line that an error shows around the place."""


def is_blank(character: str) -> bool:
    """White space within a line."""
    return character.isspace() and character != "\n"


class Reader:
    """Walks over the source; `peek` is empty at its end."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        """The character at the place, or `ahead` of it."""
        where = self.at + ahead
        return self.source[where] if where < len(self.source) else ""

    def starts(self, text: str) -> bool:
        """Whether the text stands here."""
        return self.source.startswith(text, self.at)

    def skip_blanks(self, *, lines: bool = False) -> None:
        """Go past white space and joined lines; past the ends of lines too with `lines`."""
        while True:
            if self.starts("\\\n"):
                self.at += 2
            elif is_blank(self.peek()) or (lines and self.peek() == "\n"):
                self.at += 1
            else:
                return

    def skip_line(self) -> None:
        """Go to the end of the line."""
        self.at = self.line_end()

    def line_end(self) -> int:
        """Where the line ends."""
        end = self.source.find("\n", self.at)
        return len(self.source) if end < 0 else end

    def is_line_end(self) -> bool:
        """Whether nothing but the end of the line is here."""
        return self.peek() in ("", "\n")

    def is_word_end(self) -> bool:
        """Whether a word ends here."""
        return self.is_line_end() or is_blank(self.peek()) or self.starts("\\\n")

    def error(
        self,
        problem: str,
        *,
        expected: str = "",
        hint: str = "",
        at: int | None = None,
        is_incomplete: bool = False,
    ) -> InvalidScript:
        """What is wrong, at the place; `is_incomplete` when more lines could mend it."""
        where = self.at if at is None else at
        begin = self.source.rfind("\n", 0, where) + 1
        end = self.source.find("\n", where)
        line = self.source[begin : len(self.source) if end < 0 else end]
        number = self.source.count("\n", 0, begin) + 1
        column = where - begin + 1
        return InvalidScript(
            f"{problem} (line {number}, column {column})\n{pointer(line, column)}",
            hint=hint,
            problem=problem,
            line=number,
            column=column,
            expected=expected,
            is_incomplete=is_incomplete,
        )


def pointer(line: str, column: int) -> str:
    """The line, and below it a caret at the column (from 1); of a long line what is around."""
    first = max(0, column - 1 - SHOWN // 2) if len(line) > SHOWN else 0
    shown = "".join(
        c if c.isprintable() else " " for c in line[first : first + SHOWN].expandtabs(1)
    )
    before = "".join(c if c.isprintable() else " " for c in line[first : column - 1].expandtabs(1))
    return f"  {shown}\n  {' ' * width(before)}^"


def width(text: str) -> int:
    """Columns that the text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
