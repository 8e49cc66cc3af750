"""Reading one word: plain characters, quotes, escapes, variables, loads, JSON."""

from __future__ import annotations

import json
import re

from lingos_kernel.errors import InvalidScript
from lingos_shell.language.reading import Reader
from lingos_shell.language.syntax import FIELD, LOADER_NAME, NAME, Load, Part, Text, Variable, Word

ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}
"""What stands after a backslash in double quotes; before anything else it is itself."""
ESCAPABLE = frozenset("\\\"'$@|<>&#/!{[= ")
"""What a backslash in a bare word takes the meaning from."""
SENTENCE_ENDS = ".,;:!?)]}>\"'"
"""What follows a load in running text without being part of its name."""

_JSON = json.JSONDecoder()
_VARIABLE = re.compile(rf"\$({NAME.pattern})((?:\.{FIELD.pattern})*)")
_BRACED = re.compile(rf"\$\{{({NAME.pattern})((?:\.{FIELD.pattern})*)\}}")
_LOADER = re.compile(rf"({LOADER_NAME.pattern}):(?!//)", re.ASCII)


class Parts:
    """Collects the parts of a word, joining neighbouring text."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._text: list[str] = []

    def text(self, text: str) -> None:
        """Add characters."""
        self._text.append(text)

    def part(self, part: Variable | Load) -> None:
        """Add something that is no text."""
        self._flush()
        self._parts.append(part)

    def word(self) -> Word:
        """What was collected."""
        self._flush()
        return Word(tuple(self._parts))

    def _flush(self) -> None:
        if text := "".join(self._text):
            self._parts.append(Text(text))
        self._text.clear()


def read_word(reader: Reader) -> Word:
    """The word that begins here. Raises `InvalidScript`."""
    parts = Parts()
    if reader.peek() in "{[" and (text := _read_json(reader)):
        parts.text(text)
        return parts.word()
    if reader.peek() == "@":
        if not reader.starts("@@"):
            return Word((read_load(reader),))
        reader.at += 1
        parts.text("@")
        reader.at += 1
    while not reader.is_word_end():
        _read_piece(reader, parts)
    return parts.word()


def _read_piece(reader: Reader, parts: Parts) -> None:
    character = reader.peek()
    if character in "\"'":
        read_quoted(reader, parts)
    elif character == "$" and (variable := read_variable(reader)):
        parts.part(variable)
    elif character == "\\" and reader.peek(1) in ESCAPABLE and reader.peek(1):
        parts.text(reader.peek(1))
        reader.at += 2
    else:
        parts.text(character)
        reader.at += 1


def _read_json(reader: Reader) -> str:
    """The object or list that stands here as its text, or nothing when it is none."""
    try:
        _, end = _JSON.raw_decode(reader.source, reader.at)
    except (ValueError, RecursionError):
        return ""
    if end < len(reader.source) and not reader.source[end].isspace():
        return ""
    text = reader.source[reader.at : end]
    reader.at = end
    return text


def read_variable(reader: Reader) -> Variable | None:
    """`$name.field` or `${name.field}`; None when it is just a dollar sign."""
    found = _VARIABLE.match(reader.source, reader.at) or _BRACED.match(reader.source, reader.at)
    if found is None:
        return None
    reader.at = found.end()
    return Variable(found[1], tuple(found[2].split(".")[1:]))


def read_load(reader: Reader) -> Load:
    """`@what` or `@loader:what`; names with blanks are quoted. Raises `InvalidScript`."""
    begin = reader.at
    reader.at += 1
    loader = _read_loader(reader)
    if reader.peek() in ("'", '"'):
        quoted = Parts()
        read_quoted(reader, quoted, interpolates=False)
        what = "".join(part.text for part in quoted.word().parts if isinstance(part, Text))
        if not reader.is_word_end():
            raise reader.error("a blank is missing after the quotes", expected="a blank")
    else:
        start = reader.at
        while not reader.is_word_end():
            reader.at += 1
        what = reader.source[start : reader.at]
    if not what:
        raise reader.error(
            "what to load is missing after @",
            expected="a file's name",
            hint="for example @report.md, @src/*.py or @url:https://...; @@ is a plain @",
            at=begin,
        )
    return Load(what, loader)


def read_load_in_text(reader: Reader) -> Load | None:
    """A load in running text, without the punctuation after it; None when it is just an @."""
    begin = reader.at
    reader.at += 1
    loader = _read_loader(reader)
    what = _quoted_name(reader) if reader.peek() == '"' else _bare_name(reader)
    if not what:
        reader.at = begin
        return None
    return Load(what, loader)


def _quoted_name(reader: Reader) -> str:
    parts = Parts()
    try:
        read_quoted(reader, parts, interpolates=False)
    except InvalidScript:  # in running text a quote is a quote
        return ""
    return "".join(part.text for part in parts.word().parts if isinstance(part, Text))


def _bare_name(reader: Reader) -> str:
    start = reader.at
    while not reader.is_word_end():
        reader.at += 1
    what = reader.source[start : reader.at].rstrip(SENTENCE_ENDS)
    reader.at = start + len(what)
    return what if what[:1].isalnum() or what[:1] in tuple("._~/*-") else ""


def _read_loader(reader: Reader) -> str:
    found = _LOADER.match(reader.source, reader.at)
    if found is None:
        return ""
    reader.at = found.end()
    return found[1]


def read_quoted(reader: Reader, parts: Parts, *, interpolates: bool = True) -> None:
    """A text in quotes: double ones know escapes and variables, single ones nothing at all.

    Three quotes hold several lines; a line end right behind the opening ones is not part of it.
    Raises `InvalidScript`.
    """
    begin = reader.at
    mark = reader.peek()
    is_block = reader.starts(mark * 3)
    close = mark * 3 if is_block else mark
    reader.at += len(close)
    if is_block and reader.peek() == "\n":
        reader.at += 1
    while not reader.starts(close):
        if not reader.peek() or (not is_block and reader.peek() == "\n"):
            raise reader.error(
                f"the quotes {close} are not closed",
                expected=close,
                hint="" if is_block else f"texts of several lines stand in {mark * 3}",
                at=begin,
                is_incomplete=is_block,
            )
        if mark == "'":
            parts.text(reader.peek())
            reader.at += 1
        else:
            _read_in_double_quotes(reader, parts, interpolates=interpolates)
    reader.at += len(close)


def _read_in_double_quotes(reader: Reader, parts: Parts, *, interpolates: bool) -> None:
    character, following = reader.peek(), reader.peek(1)
    if character == "\\" and following in ESCAPES:
        parts.text(ESCAPES[following])
        reader.at += 2
    elif character == "$" and interpolates and (variable := read_variable(reader)):
        parts.part(variable)
    else:
        parts.text(character)
        reader.at += 1
