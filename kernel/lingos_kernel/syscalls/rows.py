"""What calls look like at one moment; the snapshot and `trace` take these as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CallState:
    """A call in the pipeline; the fields of `telemetry.snapshot.CallRow`, in its order."""

    call_id: str
    pid: int
    principal: str
    syscall: str
    state: str
    """queued, running."""
    priority: int
    queue_position: int | None
    """0 is next; None when it waits for no slot any more."""
    age_s: float


@dataclass(frozen=True, slots=True)
class FinishedCall:
    """A call that has ended."""

    call_id: str
    parent_id: str
    """The call that made it; empty for one from outside."""
    pid: int
    principal: str
    caller: str
    """human, code, notebook, http, model, plugin, kernel."""
    syscall: str
    outcome: str
    """`ok`, or the code of the error that it ended in."""
    message: str
    ended_at: float
    """Unix time."""
    queued_s: float
    """From submission to the first line of its function, or to its end."""
    run_s: float


@dataclass(slots=True)
class SyscallStats:
    """How often a syscall was called, and what it cost."""

    calls: int = 0
    failed: int = 0
    run_s: float = 0.0


@dataclass(frozen=True, slots=True)
class DispatchStats:
    """Totals since the start, and what is going on now."""

    calls_total: int
    calls_failed: int
    queued: int
    running: int
    strays: int
    """Functions that still run though their calls have ended."""
    accepting: bool
