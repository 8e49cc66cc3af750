"""A process: whose it is, how urgent, what it may use and what it used."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Protocol

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.security.principal import Principal

ProcessKind = Literal["kernel", "session", "job", "agent", "call"]
OnParentEnd = Literal["reparent", "end"]
"""What becomes of a process whose parent ends: it moves up to the grandparent, or ends too."""
ProcessState = Literal["idle", "waiting", "running", "stopped", "ended"]

MOST_URGENT, LEAST_URGENT = -20, 19


class ActiveCall(Protocol):
    """A call in flight, as its process sees it."""

    @property
    def is_running(self) -> bool:
        """Whether its function has begun; before that it waits for its turn."""

    @property
    def queued_s(self) -> float:
        """When it came, on the table's clock."""


class Signal(enum.StrEnum):
    """What can be sent to a process."""

    TERM = "TERM"
    """Cancel its calls."""
    KILL = "KILL"
    """Cancel its calls and end it."""
    STOP = "STOP"
    """Hold its queued calls and its engine requests where they are."""
    CONT = "CONT"
    """Let a stopped process go on."""

    @classmethod
    def named(cls, name: str) -> Signal:
        """The signal of a name, with or without SIG, in any case; raises `InvalidArguments`."""
        short = name.upper().removeprefix("SIG")
        if short not in cls.__members__:
            raise InvalidArguments(
                f"unknown signal {name!r}", hint=f"signals are {', '.join(cls.__members__)}"
            )
        return cls[short]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process and its descendants together may use; None is no limit."""

    tokens: int | None = None
    """Prompt and output tokens."""
    seconds: float | None = None
    """Wall seconds of its calls, added up."""
    tool_calls: int | None = None
    """Calls that the model makes."""
    pages: int | None = None
    """KV pages held at one time."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None and not value >= 0:
                raise InvalidArguments(f"the limit {item.name} is {value}", hint="use 0 or more")


NO_LIMITS = Limits()


@dataclass(slots=True)
class Used:
    """What a process and its descendants have used so far; pages are what they hold now."""

    tokens: int = 0
    seconds: float = 0.0
    tool_calls: int = 0
    pages: int = 0


@dataclass(slots=True, eq=False)
class Process:
    """One entry of the process table; changed by the table alone."""

    pid: int
    parent: int
    principal: Principal
    kind: ProcessKind
    command: str
    model: str
    priority: int
    limits: Limits
    created_s: float
    """On the table's clock, as the other times here."""
    used: Used = field(default_factory=Used)
    on_parent_end: OnParentEnd = "reparent"
    is_durable: bool = False
    """Whether it outlives the kernel that opened it."""
    context: str = ""
    """The conversation that it continued last."""
    job: str = ""
    """What identifies the durable job that it does; empty when it does none."""
    turns: Counter[str] = field(default_factory=Counter)
    """How often it has taken each turn of a context, for a job that is begun again."""
    stopped: bool = False
    ended_s: float | None = None
    ended_why: str = ""
    calls: set[ActiveCall] = field(default_factory=set)
    """The calls in flight."""

    @property
    def state(self) -> ProcessState:
        """Follows from the flags and the calls in flight; the table keeps no second copy."""
        if self.ended_s is not None:
            return "ended"
        if self.stopped:
            return "stopped"
        if any(call.is_running for call in self.calls):
            return "running"
        return "waiting" if self.calls else "idle"

    def waited_s(self, now: float) -> float:
        """How long its oldest call has been waiting; 0 when none waits."""
        return now - min((c.queued_s for c in self.calls if not c.is_running), default=now)

    def remaining(self) -> Limits:
        """What is left of each limit of this process alone, never below 0."""
        if self.limits is NO_LIMITS:
            return NO_LIMITS
        left = {
            item.name: None if limit is None else max(limit - getattr(self.used, item.name), 0)
            for item in fields(Limits)
            for limit in [getattr(self.limits, item.name)]
        }
        return replace(NO_LIMITS, **left)

    def used_up(self, *, tool_calls: bool) -> str:
        """Which limit that binds a new call is used up, in words; empty when none is."""
        if self.limits is NO_LIMITS:
            return ""
        for name in ("tokens", "seconds", "tool_calls")[: 3 if tool_calls else 2]:
            limit, used = getattr(self.limits, name), getattr(self.used, name)
            if limit is not None and used >= limit:
                return f"{used:g} of {limit:g} {name.replace('_', ' ')}"
        return ""
