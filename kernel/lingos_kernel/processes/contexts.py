"""A context: a conversation (or a text) with its exact tokens, that many programs may go on with.

Its tokens are immutable nodes in a tree: what a context holds is the path from a root to its head,
up to a length. Forks share the path, so a fork copies nothing, whatever the length; who goes on
writes a node of its own, which begins where a message ends (a message that a fork has cut is copied
as far as it goes).

    a conversation:   0..400 ── 400..900 ── 900..1000    head (node 3, length 1000)
    a fork at 700:                └ up to 700            head (node 2, length 700)
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lingos_kernel.errors import InvalidArguments, NotPermitted
from lingos_kernel.security.principal import Principal

ADMIN = "ctx.admin"
"""The capability to use other principals' contexts of the same tenant."""
TEXT = "text"
"""The role of a piece that is no message: a text, or what continues the piece before it."""

Message = dict[str, Any]
_NAME = re.compile(r"[\w][\w.@:/+-]{0,127}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, or a piece of text, and where it ends."""

    message: Message
    end: int
    """The position after its last token, from the context's beginning."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The message in whose middle a context ends."""

    message: Message
    start: int
    whole: array[int]
    """All its tokens, also those behind the end."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a context holds."""

    tokens: array[int]
    entries: tuple[Entry, ...]
    """The whole ones, in order."""
    cut: Cut | None = None


EMPTY = Conversation(array("I"), ())


@dataclass(frozen=True, slots=True)
class Head:
    """A context by name; times are Unix times."""

    tenant: str
    name: str
    owner: str
    is_shared: bool
    """Others of the tenant may read and fork it."""
    model: str
    model_id: str
    """The snapshot whose tokens it holds."""
    node: int | None
    length: int
    """Tokens."""
    forked_from: str
    created_s: float
    updated_s: float

    def check_readable(self, by: Principal) -> None:
        """Raise `NotPermitted` unless `by` may read and fork it."""
        if not self.is_shared:
            self.check_writable(by)

    def check_writable(self, by: Principal) -> None:
        """Raise `NotPermitted` unless `by` may change it."""
        if self.owner != by.name and not by.may(ADMIN):
            hint = "fork it, and change the fork" if self.is_shared else f"it needs {ADMIN}"
            raise NotPermitted(
                f"the context {self.name} belongs to {self.owner}, not to {by.name}", hint=hint
            )


@dataclass(frozen=True, slots=True)
class Loaded:
    """A context as it was read."""

    head: Head
    conversation: Conversation
    line: tuple[tuple[int, int], ...]
    """Its nodes and the positions where they start, the last one first."""

    def node_at(self, position: int) -> int | None:
        """The node that a continuation from this position hangs below."""
        return next((node for node, start in self.line if start < position), None)


@dataclass(frozen=True, slots=True)
class Turn:
    """What a job adds to a context, once, however often the job is begun again."""

    key: str
    result: bytes
    """JSON of what the call gave."""


def check_name(name: str) -> None:
    """Raise `InvalidArguments` for what is no name of a context."""
    if not _NAME.fullmatch(name):
        raise InvalidArguments(
            f"{name!r} is no name for a context",
            hint="use up to 128 letters, digits and . _ - @ : / +, a letter or digit first",
        )


def check_at(head: Head, at: int | None) -> int:
    """The length to cut a context to; raises `InvalidArguments` when it is not that long."""
    if at is None:
        return head.length
    if not 0 <= at <= head.length:
        raise InvalidArguments(
            f"the context {head.name} has {head.length} tokens, it cannot be cut at {at}",
            hint=f"use 0 to {head.length}; ctx.show tells where its messages end",
        )
    return at


def assemble(
    pieces: Sequence[tuple[int, array[int], Sequence[Entry]]], length: int
) -> Conversation:
    """What a path of nodes (start, tokens, entries) holds, up to a length."""
    tokens = array("I")
    entries: list[Entry] = []
    cut = None
    next_starts = [start for start, _, _ in pieces[1:]]
    for (start, held, named), next_start in zip(pieces, [*next_starts, length], strict=False):
        end = min(next_start, length)
        if start >= end:
            continue
        tokens += held[: end - start]
        whole = [entry for entry in named if entry.end <= end]
        before = whole[-1].end if whole else start
        entries += whole
        if before < end:
            entry = named[len(whole)]
            cut = Cut(entry.message, before, held[before - start : entry.end - start])
    return Conversation(tokens, tuple(entries), cut)
