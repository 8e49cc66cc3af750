"""Source to tree, by recursive descent; the grammar is in docs/reference/language.md."""

from __future__ import annotations

import re

from lingos_kernel.errors import InvalidScript
from lingos_shell.language.reading import Reader
from lingos_shell.language.running_text import (
    HOST,
    LAST_AMPERSAND,
    MESSAGE_LINE,
    WHOLE_MESSAGE,
    read_running_text,
    stripped,
)
from lingos_shell.language.syntax import (
    CALL_NAME,
    NAME,
    Argument,
    Call,
    HostCommand,
    Keyed,
    Load,
    Option,
    Pipeline,
    Save,
    Script,
    Stage,
    Talk,
    Text,
    Value,
    Variable,
    Word,
)
from lingos_shell.language.words import Parts, read_quoted, read_word

ASK = "ask"
"""`/ask text` is the text, wherever plain text cannot stand."""

_TARGET = re.compile(rf"({NAME.pattern})[^\S\n]*=(?!=)", re.ASCII)
_CALL = re.compile(rf"/({CALL_NAME.pattern})(?=\s|\\\n|\Z)", re.ASCII)
_OPTION = re.compile(r"--([A-Za-z][\w-]*)(?:(=)|(?=\s|\\\n|\Z))", re.ASCII)
_KEY = re.compile(r"([A-Za-z_][\w-]*)=", re.ASCII)
_PLAIN_VALUE = re.compile(r"(?:[-+]?\d[\w.+-]*|true|false|null)(?=\s|\Z)", re.ASCII)
_LAST_BACKSLASHES = re.compile(r"\\+\Z")


def parse_script(source: str) -> Script:
    """The tree of a saved script: each line is a pipeline, a message, a comment, or empty.

    Raises `InvalidScript`, which points at the line and column, for what cannot be read.
    """
    return _Parser(_plain_lines(source), is_message=False).script()


def parse_message(source: str) -> Script:
    """The tree of what a person sent: as a script, but when it begins with text it is all text.

    Raises `InvalidScript`.
    """
    text = _plain_lines(source)
    try:
        return _Parser(text, is_message=True).script()
    except _AllIsText:
        return _Parser(text, is_message=True, is_text=True).script()


class _AllIsText(Exception):
    """Raised when lines of text follow on values, as in pasted code: all of it is a message."""


def needs_more(source: str) -> bool:
    """Whether more lines are to come: a block or a joined line is open at the end."""
    text = _plain_lines(source)
    last = _LAST_BACKSLASHES.search(text)
    if last and len(last[0]) % 2:
        return True
    try:
        parse_message(text)
    except InvalidScript as error:
        return bool(error.details.get("is_incomplete"))
    return False


def _plain_lines(source: str) -> str:
    return source.replace("\r\n", "\n").removeprefix("\ufeff")


class _Parser:
    def __init__(self, source: str, *, is_message: bool, is_text: bool = False) -> None:
        self._reader = Reader(source)
        self._is_message = is_message
        """Nothing was read yet of a message; text would take all of it."""
        self._is_text = is_text
        self._began_with_value = False

    def script(self) -> Script:
        """All pipelines to the end of the source."""
        reader = self._reader
        pipelines: list[Pipeline] = []
        while True:
            reader.skip_blanks(lines=True)
            if not reader.peek():
                return Script(tuple(pipelines))
            if reader.peek() == "#":
                reader.skip_line()
                continue
            pipelines.append(self._pipeline())
            if self._is_message:
                first = pipelines[0]
                self._is_message = False
                self._began_with_value = bool(first.target) or isinstance(first.stages[0], Value)

    def _pipeline(self) -> Pipeline:
        reader = self._reader
        target = self._target()
        first, source = self._first_stage(is_assigned=bool(target))
        stages, save = [first], None
        while self._at_operator("|") and save is None:
            reader.at += 1
            reader.skip_blanks(lines=True)
            if reader.peek() == ">":
                save = self._save()
            else:
                stages.append(self._later_stage())
        if save is None and reader.peek() == ">":
            save = self._save()
        return Pipeline(tuple(stages), source, save, self._ends_in_background(), target)

    def _target(self) -> str:
        """The name before `=`, when a value or a call follows; else this is text."""
        reader = self._reader
        found = _TARGET.match(reader.source, reader.at)
        if found is None or found[1] == "_" or self._is_text:
            return ""
        begin = reader.at
        reader.at = found.end()
        reader.skip_blanks()
        if self._at_call() or reader.peek() == "!" or self._peek_value(is_assigned=True):
            return found[1]
        reader.at = begin
        return ""

    def _first_stage(self, *, is_assigned: bool) -> tuple[Stage, Word | None]:
        reader = self._reader
        if self._is_text:
            return self._talk(), None
        if self._at_call():
            return self._call()
        if reader.peek() == "!":
            return self._host(), None
        if reader.peek() == "/" and not self._is_path():
            raise self._no_name()
        value = self._peek_value(is_assigned=is_assigned)
        if value is None:
            return self._talk(), None
        word, end = value
        is_quoted = reader.peek() in ("'", '"')
        reader.at = end
        if is_quoted and reader.is_line_end() and not is_assigned:
            return Talk(stripped(word)), None
        return Value(word), None

    def _later_stage(self) -> Stage:
        reader = self._reader
        if self._at_call():
            begin = reader.at
            stage, source = self._call()
            if source is not None:
                raise reader.error("only the first stage reads from a file", at=begin)
            return stage
        if reader.peek() == "!":
            return self._host()
        if reader.peek() == "/" and not self._is_path():
            raise self._no_name()
        if reader.is_line_end():
            raise reader.error(
                "the pipe leads nowhere", expected="/name, !command, > file or text",
                is_incomplete=not reader.peek(),
            )  # fmt: skip
        return Talk(read_running_text(reader, MESSAGE_LINE))

    # Stages

    def _talk(self) -> Talk:
        if self._began_with_value:
            raise _AllIsText
        kind = WHOLE_MESSAGE if self._is_message else MESSAGE_LINE
        return Talk(read_running_text(self._reader, kind))

    def _ask(self) -> Talk:
        reader = self._reader
        is_quoted = reader.peek() in ("'", '"')
        if is_quoted and (value := self._peek_value(is_assigned=True)):
            reader.at = value[1]
            return Talk(stripped(value[0]))
        return Talk(read_running_text(reader, MESSAGE_LINE))

    def _host(self) -> HostCommand:
        reader = self._reader
        begin = reader.at
        reader.at += 1
        reader.skip_blanks()
        if reader.starts('"""'):
            quoted = Parts()
            read_quoted(reader, quoted, interpolates=False)
            word = stripped(quoted.word())
            reader.skip_blanks()
        else:
            word = read_running_text(reader, HOST)
        command = "".join(part.text for part in word.parts if isinstance(part, Text))
        if not command:
            raise reader.error("a command is missing after !", expected="a command", at=begin)
        return HostCommand(command)

    def _call(self) -> tuple[Stage, Word | None]:
        reader = self._reader
        found = _CALL.match(reader.source, reader.at)
        assert found is not None
        reader.at = found.end()
        reader.skip_blanks()
        if found[1] == ASK:
            return self._ask(), None
        arguments: list[Argument] = []
        source: Word | None = None
        while not (reader.is_line_end() or self._at_end_of_call()):
            if self._at_operator("<"):
                source = self._file("<")
            else:
                arguments.append(self._argument())
            reader.skip_blanks()
        return Call(found[1], tuple(arguments)), source

    def _argument(self) -> Argument:
        reader = self._reader
        if found := _OPTION.match(reader.source, reader.at):
            reader.at = found.end()
            return Option(found[1], read_word(reader) if found[2] else None)
        if found := _KEY.match(reader.source, reader.at):
            reader.at = found.end()
            return Keyed(found[1], read_word(reader))
        return read_word(reader)

    # What follows the stages

    def _save(self) -> Save:
        mark = ">>" if self._reader.starts(">>") else ">"
        return Save(self._file(mark), is_appending=mark == ">>")

    def _file(self, mark: str) -> Word:
        reader = self._reader
        reader.at += len(mark)
        reader.skip_blanks()
        if reader.is_line_end() or reader.peek() in "|&#<>":
            raise reader.error(f"a file's name is missing after {mark}", expected="a file's name")
        word = read_word(reader)
        reader.skip_blanks()
        return word

    def _ends_in_background(self) -> bool:
        reader = self._reader
        reader.skip_blanks()
        is_background = self._at_operator("&")
        if is_background:
            reader.at += 1
            reader.skip_blanks()
        if reader.peek() == "#":
            reader.skip_line()
        if reader.is_line_end():
            return is_background
        problem = "nothing can stand behind &" if is_background else "this cannot stand here"
        raise reader.error(
            problem,
            expected="the end of the line",
            hint="each line is one pipeline; put quotes around | > < & that are meant as text",
        )

    # Looking ahead

    def _at_call(self) -> bool:
        return _CALL.match(self._reader.source, self._reader.at) is not None

    def _at_operator(self, mark: str) -> bool:
        return self._reader.peek() == mark

    def _at_end_of_call(self) -> bool:
        """Operators and comments count at the beginning of a word only."""
        return self._reader.peek() in ("|", ">", "&", "#")

    def _is_path(self) -> bool:
        """Whether text begins with a path, as in `/etc/hosts is wrong, why?`."""
        reader = self._reader
        word = reader.source[reader.at : reader.line_end()].split(maxsplit=1)[0]
        return "/" in word[1:]

    def _no_name(self) -> InvalidScript:
        return self._reader.error(
            "a name is missing after /",
            expected="the name of a syscall or word",
            hint="/help lists them; text that begins with / is sent by /ask",
            at=self._reader.at + 1,
        )

    def _peek_value(self, *, is_assigned: bool) -> tuple[Word, int] | None:
        """The value that stands here alone or before an operator, and where it ends."""
        reader = self._reader
        mark = reader.peek()
        if not (mark and mark in "$@\"'") and not (is_assigned and self._at_plain_value()):
            return None
        begin = reader.at
        try:
            word = read_word(reader)
            reader.skip_blanks()
            if self._is_value_end(is_assigned=is_assigned, is_quoted=mark in "\"'"):
                return (word, reader.at) if _is_value(word, mark) else None
        except InvalidScript as error:
            if error.details["is_incomplete"]:
                raise
        finally:
            reader.at = begin
        return None

    def _at_plain_value(self) -> bool:
        reader = self._reader
        return reader.peek() in ("[", "{") or bool(_PLAIN_VALUE.match(reader.source, reader.at))

    def _is_value_end(self, *, is_assigned: bool, is_quoted: bool) -> bool:
        """Whether what was read is a value of its own; of a message it is the only line then."""
        reader = self._reader
        if reader.is_line_end():
            rest = reader.source[reader.at :]
            return is_assigned or not self._is_message or not rest.strip()
        if reader.peek() == "|" or (reader.peek() in (">", "#") and not is_quoted):
            return True
        if is_assigned:
            return reader.peek() in (">", "#", "&")
        return LAST_AMPERSAND.match(reader.source, reader.at) is not None and not is_quoted


def _is_value(word: Word, mark: str) -> bool:
    """Whether a word can be a value: one variable, one load, a quoted or plain text."""
    match mark:
        case "$":
            return len(word.parts) == 1 and isinstance(word.parts[0], Variable)
        case "@":
            return isinstance(word.parts[0], Load)
        case _:
            return True
