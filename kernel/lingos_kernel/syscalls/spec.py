"""What a syscall is: a typed Python function with a name, a capability and a cost class."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal, Protocol, TypeVar

from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.events import AnyEvent

Cost = Literal["cpu", "io", "engine"]
"""cpu runs on the thread pool, io and engine calls may also be async on the event loop."""

ATTRIBUTE = "__lingos_syscall__"

_WORD = re.compile(r"[A-Za-z_]\w*")

F = TypeVar("F", bound=Callable[..., Any])


class StartedCall(Protocol):
    """A nested call that runs beside its caller."""

    async def result(self) -> Any:
        """Its result; raises the error that it ended in."""

    def cancel(self, reason: str = ...) -> None:
        """End it as cancelled."""


class Context(Protocol):
    """The call as its function sees it; taken by a first parameter annotated `Context`.

    Nested calls go through the same pipeline, under the caller's principal and process.
    """

    call_id: str
    pid: int
    principal: Principal
    confirmed: bool
    """Whether a person said yes to this call."""
    cancelled: threading.Event
    """Set when the call is cancelled or timed out; long loops look at it."""

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of another syscall; raises its error. For async functions."""

    def stream(self, name: str, /, **arguments: Any) -> AsyncIterator[AnyEvent]:
        """The events of another syscall. For async functions."""

    def start_tool(
        self, name: str, arguments: dict[str, Any], *, grants: frozenset[str] | None = None
    ) -> StartedCall:
        """Begin a syscall that a model asked for: counted as a tool call, never confirmed.

        It has the caller's capabilities, or those among `grants`. For async functions.
        """

    def call_sync(self, name: str, /, **arguments: Any) -> Any:
        """As `call`, for functions that run on a pool thread."""

    def map_sync(
        self, name: str, arguments: list[dict[str, Any]], /, *, parallel: int = 8
    ) -> list[Any]:
        """Results of many calls of one syscall, in order, at most `parallel` at a time."""

    def progress(
        self, done: float, total: float | None = None, *, unit: str = "", label: str = ""
    ) -> None:
        """Tell the caller how far the call is."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the call has been ended."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What `@syscall` was told; the table completes it from the function's signature."""

    name: str | None = None
    capability: str | None = None
    """Defaults to the syscall's own name; `*` needs no capability."""
    cost: Cost = "cpu"
    timeout_s: float | None = None
    """None: the configured default."""
    confirm: bool = False
    """Ask a person before running (destructive)."""
    names: Mapping[str, Any] = field(default_factory=dict)
    """What local names in the function's annotations meant where it was defined."""


def syscall(
    name: str | None = None,
    *,
    capability: str | None = None,
    cost: Cost = "cpu",
    timeout_s: float | None = None,
    confirm: bool = False,
) -> Callable[[F], F]:
    """Mark a typed function (sync, async or generator) as a syscall.

    The name defaults to the function's. Types become the argument schema, the docstring's first
    line the summary, the rest the help; `name: text` lines under `Args:` describe arguments. A
    generator streams each yielded value as an item; one that yields `Result(x)` last makes x its
    result, otherwise the result is the list of items. A name without a dot, the default too, is
    put below the plugin's: `summarize` of the plugin `text` is `text.summarize`.
    """

    def mark(function: F) -> F:
        names = _local_names(function, sys._getframe(1))
        declaration = Declaration(name, capability, cost, timeout_s, confirm, names)
        setattr(function, ATTRIBUTE, declaration)
        return function

    return mark


def _local_names(function: Callable[..., Any], frame: FrameType | None) -> dict[str, Any]:
    """Names in the annotations (text, not yet evaluated) that are local to enclosing functions."""
    annotations = " ".join(str(text) for text in function.__annotations__.values())
    words = set(_WORD.findall(annotations))
    found: dict[str, Any] = {}
    while frame is not None and frame.f_locals is not frame.f_globals:
        found = {word: frame.f_locals[word] for word in words & frame.f_locals.keys()} | found
        frame = frame.f_back
    return found


@dataclass(frozen=True, slots=True)
class SyscallInfo:
    """A registered syscall as callers see it: all they need for forms, completion and help."""

    name: str
    owner: str
    """The plugin that registered it."""
    summary: str
    help: str
    capability: str
    cost: Cost
    timeout_s: float | None
    confirm: bool
    streams: bool
    arguments: Mapping[str, Any]
    """JSON schema (draft 2020-12) of the arguments object."""
    returns: Mapping[str, Any]
    """JSON schema of the result; {} when unknown."""
