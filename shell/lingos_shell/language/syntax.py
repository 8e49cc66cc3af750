"""The tree of the shell's language: what the parser makes and the printer writes.

`docs/reference/language.md` holds the grammar. Nodes are plain values: two texts that mean the
same have equal trees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""The name of a variable or argument."""
CALL_NAME = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*", re.ASCII)
"""The name of a syscall or word, after its slash."""
LOADER_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.ASCII)
FIELD = re.compile(r"[\w-]*\w")
"""One step into a variable's value: a key, or an index."""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters that stand for themselves; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, or a part of its value: `$name.field.0`."""

    name: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """`@file` or `@loader:what`: text that a loader fetches."""

    what: str
    loader: str = ""
    """Empty: the one that fits."""


Part = Text | Variable | Load


@dataclass(frozen=True, slots=True)
class Word:
    """Parts that are put together; no two `Text` stand side by side."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """`--name`, or `--name=value`; whether the next word is its value says the schema."""

    name: str
    value: Word | None = None


@dataclass(frozen=True, slots=True)
class Keyed:
    """`name=value`."""

    name: str
    value: Word


Argument = Word | Option | Keyed


@dataclass(frozen=True, slots=True)
class Talk:
    """Words for the session's model; what comes through the pipe goes before them."""

    word: Word


@dataclass(frozen=True, slots=True)
class Call:
    """`/name arguments`: a syscall, or a word of the shell."""

    name: str
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class HostCommand:
    """`!command` for the host's shell."""

    command: str


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it stands, at the head of a pipe: `$name`, `@file`, a quoted text."""

    word: Word


Stage = Talk | Call | HostCommand | Value


@dataclass(frozen=True, slots=True)
class Save:
    """`> file` or `>> file`."""

    file: Word
    is_appending: bool = False


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Stages, each fed by the one before it."""

    stages: tuple[Stage, ...]
    source: Word | None = None
    """`< file`: what the first stage, a `Call`, reads."""
    save: Save | None = None
    is_background: bool = False
    target: str = ""
    """The variable that keeps the result: `name = ...`."""


@dataclass(frozen=True, slots=True)
class Script:
    """Pipelines, one after the other."""

    pipelines: tuple[Pipeline, ...] = ()
