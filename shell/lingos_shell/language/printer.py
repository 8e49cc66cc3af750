"""Tree to source: `parse_script(print_script(tree)) == tree`."""

from __future__ import annotations

import re

from lingos_shell.language.parser import ASK
from lingos_shell.language.reading import Reader
from lingos_shell.language.running_text import (
    HOST,
    LAST_AMPERSAND,
    OPENERS,
    PIPE,
    START_MARKS,
    read_running_text,
)
from lingos_shell.language.syntax import (
    Argument,
    Call,
    HostCommand,
    Keyed,
    Load,
    Option,
    Pipeline,
    Script,
    Stage,
    Talk,
    Text,
    Value,
    Variable,
    Word,
)
from lingos_shell.language.words import read_load_in_text, read_variable

_BARE = re.compile(r"[\w./%+^][\w./%+^:,-]*")
_BARE_LOAD = re.compile(r"[\w./~*][\w./~*-]*")
_PLAIN_TALK = re.compile(r"[^\W\d_][\w ,.;:?!()-]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def print_script(script: Script) -> str:
    """The source of a script, one line per pipeline (joined lines in messages apart)."""
    return "".join(f"{print_pipeline(pipeline)}\n" for pipeline in script.pipelines)


def print_pipeline(pipeline: Pipeline) -> str:
    """The source of one pipeline, without a line end."""
    rest = " &" if pipeline.is_background else ""
    if save := pipeline.save:
        is_call = isinstance(pipeline.stages[-1], Call)
        mark = ">>" if save.is_appending else ">"
        rest = f"{' ' if is_call else ' | '}{mark} {print_word(save.file)}{rest}"
    head = f"{pipeline.target} = " if pipeline.target else ""
    for number, stage in reversed(list(enumerate(pipeline.stages))):
        if number == 0 and pipeline.source is not None:
            rest = f" < {print_word(pipeline.source)}{rest}"
        rest = _stage(stage, rest, is_plain=number == 0 and not head)
        if number:
            rest = f" | {rest}"
    return head + rest


def print_word(word: Word) -> str:
    """The source of a word among arguments."""
    match word.parts:
        case (Variable() as variable,):
            return variable_source(variable)
        case (Load() as load,):
            return load_source(load)
        case (Text(text),) if _BARE.fullmatch(text):
            return text
    return f'"{"".join(_in_quotes(part) for part in word.parts)}"'


def variable_source(variable: Variable, *, in_braces: bool = False) -> str:
    """`$name.path`, or `${name.path}`, which can stand before anything."""
    name = ".".join((variable.name, *variable.path))
    return f"${{{name}}}" if in_braces else f"${name}"


def load_source(load: Load, *, can_be_bare: bool = True) -> str:
    """`@what`, with quotes where they are needed."""
    loader = f"{load.loader}:" if load.loader else ""
    if can_be_bare and _BARE_LOAD.fullmatch(load.what):
        return f"@{loader}{load.what}"
    what = "".join(_ESCAPES.get(c, c) for c in load.what)
    return f'@{loader}"{what}"'


def _in_quotes(part: object) -> str:
    match part:
        case Text(text):
            return "".join(_ESCAPES.get(c, c) for c in text)
        case Variable():
            return variable_source(part, in_braces=True)
    raise ValueError("a load is a word of its own")


def _argument(argument: Argument) -> str:
    match argument:
        case Option(name, None):
            return f"--{name}"
        case Option(name, Word() as value):
            return f"--{name}={print_word(value)}"
        case Keyed(name, value):
            return f"{name}={print_word(value)}"
        case Word():
            return print_word(argument)
    raise ValueError(f"{argument} is no argument")


def _stage(stage: Stage, rest: str, *, is_plain: bool) -> str:
    """The source of a stage with what follows it."""
    match stage:
        case Talk(Word((Text(text),))) if is_plain and _PLAIN_TALK.fullmatch(text):
            return text + rest
        case Talk(word):
            return _talk(word, rest)
        case Call(name, arguments):
            return " ".join([f"/{name}", *map(_argument, arguments)]) + rest
        case HostCommand(command):
            if _stands_as_it_is(command, rest):
                return f"!{command}{rest}"
            text = "".join(_ESCAPES.get(c, c) for c in command)
            return f'!"""{text}"""{rest}'
        case Value(word):
            is_text = all(not isinstance(part, Load) for part in word.parts) and (
                len(word.parts) != 1 or isinstance(word.parts[0], Text)
            )
            quoted = f'"{"".join(_in_quotes(part) for part in word.parts)}"' if is_text else ""
            return (quoted or print_word(word)) + rest


def _stands_as_it_is(command: str, rest: str) -> bool:
    """Whether a host command is read as itself without quotes."""
    if command.startswith('"""') or command.endswith("\\") or set(command) & set("\n\r"):
        return False
    reader = Reader(f"{command}{rest}\n")
    return read_running_text(reader, HOST) == Word((Text(command),)) and (
        reader.source[reader.at :].strip() == rest.strip()
    )


def _talk(word: Word, rest: str) -> str:
    """`/ask` with the message, escaped from its end to its beginning.

    What a character means depends on what follows it in the source, so that is written first.
    """
    if not word.parts:
        return f"/{ASK}{rest}"
    source = rest
    if isinstance(last := word.parts[-1], Text) and last.text.endswith("\\"):
        source = f" {rest}"  # a backslash at the end of a line would join it
    for number in range(len(word.parts) - 1, -1, -1):
        before = word.parts[number - 1] if number else None
        match word.parts[number]:
            case Text(text):
                source = _escaped(text, source, before)
            case Variable() as variable:
                source = _after_backslashes(word, number) + (
                    variable_source(variable, in_braces=True) + source
                )
            case Load() as load:
                is_bare = not source or source[0].isspace()
                source = _after_backslashes(word, number) + (
                    load_source(load, can_be_bare=is_bare and load.what[-1].isalnum()) + source
                )
    return f"/{ASK} {source}"


def _after_backslashes(word: Word, number: int) -> str:
    """As many backslashes again as the text before a part ends in: half of them are dropped."""
    before = word.parts[number - 1] if number else None
    if not isinstance(before, Text):
        return ""
    return "\\" * (len(before.text) - len(before.text.rstrip("\\")))


def _escaped(text: str, rest: str, part_before: object) -> str:
    """A text of a message with what follows it in the source."""
    source, at = rest, len(text)
    while at:
        at -= 1
        source = text[at] + source
        begin = len(text[:at].rstrip("\\"))
        if text[at] in "\n|&$@" and _is_special(source, text[:begin], part_before):
            source = "\\" * (2 * (at - begin) + 1) + source
            at = begin
        elif begin == 0 and part_before is None and text[at] in START_MARKS and text[at] != "\\":
            is_quote = text[at] in "\"'"
            source = "\\" * (2 * at + (1 if is_quote else 0)) + source
            at = 0
    return source


def _is_special(source: str, before: str, part_before: object) -> bool:
    """Whether the first character of the source has a meaning after `before`."""
    previous = before[-1:] or ("" if part_before is None else _last_character(part_before))
    match source[0]:
        case "\n":
            return True
        case "|" | "&" as mark:
            pattern = PIPE if mark == "|" else LAST_AMPERSAND
            can_begin = not previous or previous.isspace()
            return can_begin and pattern.match(source) is not None
        case "$":
            return read_variable(Reader(source)) is not None
        case _:
            can_begin = not previous or previous.isspace() or previous in OPENERS
            return can_begin and read_load_in_text(Reader(source)) is not None


def _last_character(part: object) -> str:
    if isinstance(part, Load):
        return load_source(part, can_be_bare=False)[-1]
    return "}"
