"""What a run tells the front end, and the two things that a front end must be able to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lingos_kernel.errors import LingOSError


@dataclass(frozen=True, slots=True)
class AnswerText:
    """A piece of a model's answer, or of a syscall's text: Markdown."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The text is whole; `result` is the call's result (usage, finish_reason, ...)."""

    result: Any


@dataclass(frozen=True, slots=True)
class Shown:
    """A value to show: a table when `as_table` of it is one, else text or JSON."""

    value: Any
    source: str = ""
    """The syscall or word that it came from."""


@dataclass(frozen=True, slots=True)
class Narration:
    """A sentence to the person, no data."""

    text: str


@dataclass(frozen=True, slots=True)
class HostOutput:
    """Output of a command of the host, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class Progressed:
    """How far a call is."""

    done: float
    total: float | None
    unit: str
    label: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model calls a syscall."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """What came back: a value, or the wire form of an error."""

    name: str
    value: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended in an error."""

    error: LingOSError


ShellEvent = (
    AnswerText | AnswerEnd | Shown | Narration | HostOutput | Progressed
    | ToolCalled | ToolReturned | Failed
)  # fmt: skip


class Sink(Protocol):
    """Where a run's output goes: a terminal, a tab, a notebook cell."""

    async def show(self, event: ShellEvent) -> None:
        """Show one event; events of a run come one after the other."""

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask the person whether to make a call that wants their yes."""
