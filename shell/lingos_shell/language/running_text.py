"""Reading text that stands as it is: a message for the model, or a command of the host.

Special in it are only `$name`, `@what`, a pipe into something that cannot be text (`| /name`,
`| !command`, `| > file`), a final `&`, and the end of the line. An odd number of backslashes
before one of these takes its meaning away; half of the backslashes stay. All others are text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lingos_shell.language.reading import Reader
from lingos_shell.language.syntax import CALL_NAME, Load, Text, Variable, Word
from lingos_shell.language.words import Parts, read_load_in_text, read_variable

PIPE = re.compile(rf"\|[^\S\n]*(?:/{CALL_NAME.pattern}(?=\s|\Z)|!|>)", re.ASCII)
LAST_AMPERSAND = re.compile(r"&[^\S\n]*(?=\n|\Z)")
START_MARKS = tuple("/!#>\"'")
"""What makes a line no text; a backslash before it, at the beginning, makes it text again."""
_PLAIN = re.compile(r"[^\\\n|&$@]+")
OPENERS = tuple("([{<\"'")


@dataclass(frozen=True, slots=True)
class Kind:
    """What is special in the text beside pipes and `&`."""

    has_parts: bool = True
    """Variables and loads are replaced."""
    is_message: bool = False
    """It goes on to the end of the source; pipes and `&` count on its last line."""


MESSAGE_LINE = Kind()
WHOLE_MESSAGE = Kind(is_message=True)
HOST = Kind(has_parts=False)


def read_running_text(reader: Reader, kind: Kind) -> Word:
    """The text up to the operator or line end that follows it, without blanks around it."""
    return _Run(reader, kind).read()


class _Run:
    def __init__(self, reader: Reader, kind: Kind) -> None:
        self._reader = reader
        self._kind = kind
        self._parts = Parts()
        self._begin = reader.at
        last_line = reader.source.rstrip().rfind("\n") + 1 if kind.is_message else 0
        self._operators_from = max(reader.at, last_line)

    def read(self) -> Word:
        """The stripped word; the reader stands at what ended it."""
        reader = self._reader
        while reader.peek():
            if plain := _PLAIN.match(reader.source, reader.at):
                self._parts.text(plain[0])
                reader.at = plain.end()
                continue
            before = reader.at
            while reader.peek() == "\\":
                reader.at += 1
            backslashes = reader.at - before
            is_escaped = backslashes % 2 == 1
            if self._is_end(before, is_escaped=is_escaped):
                if not is_escaped:
                    self._parts.text("\\" * (backslashes // 2))
                    break
                self._literal(backslashes)
            elif part := self._peek_part(before):
                self._parts.text("\\" * (backslashes // 2))
                self._character() if is_escaped else self._take(*part)
            elif backslashes:
                is_start = before == self._begin and reader.peek() in START_MARKS
                self._parts.text("\\" * (backslashes // 2 if is_start else backslashes))
            else:
                self._character()
        return stripped(self._parts.word())

    def _character(self) -> None:
        self._parts.text(self._reader.peek())
        self._reader.at += 1

    def _literal(self, backslashes: int) -> None:
        """An end that was escaped; a joined line is left to the host's shell as it is."""
        is_joined = self._reader.peek() == "\n" and not self._kind.has_parts
        self._parts.text("\\" * (backslashes if is_joined else backslashes // 2))
        self._character()

    def _is_end(self, before: int, *, is_escaped: bool) -> bool:
        """Whether an operator or a line's end is here, `before` which backslashes may stand."""
        reader = self._reader
        if reader.peek() == "\n":
            return is_escaped or not self._kind.is_message
        if reader.peek() not in ("|", "&") or reader.at < self._operators_from:
            return False
        if before and not reader.source[before - 1].isspace():
            return False
        pattern = PIPE if reader.peek() == "|" else LAST_AMPERSAND
        return pattern.match(reader.source, reader.at) is not None

    def _peek_part(self, before: int) -> tuple[Variable | Load, int] | None:
        """The variable or load that is here, and where it ends; None when there is none."""
        reader = self._reader
        if not self._kind.has_parts or reader.peek() not in ("$", "@"):
            return None
        begin = reader.at
        if reader.peek() == "$":
            part: Variable | Load | None = read_variable(reader)
        else:
            previous = reader.source[before - 1] if before else " "
            can_load = previous.isspace() or previous in OPENERS
            part = read_load_in_text(reader) if can_load else None
        end, reader.at = reader.at, begin
        return (part, end) if part else None

    def _take(self, part: Variable | Load, end: int) -> None:
        self._parts.part(part)
        self._reader.at = end


def stripped(word: Word) -> Word:
    """The word without white space at its ends."""
    parts = list(word.parts)
    if parts and isinstance(first := parts[0], Text):
        parts[0] = Text(first.text.lstrip())
    if parts and isinstance(last := parts[-1], Text):
        parts[-1] = Text(last.text.rstrip())
    return Word(tuple(part for part in parts if not isinstance(part, Text) or part.text))
