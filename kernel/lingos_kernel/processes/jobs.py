"""Durable jobs as plain data, and the pure decisions about them.

A job is a syscall that is to be done, whatever happens to the kernel meanwhile:

    submit ──> waiting ──begin──> running ──> done, failed or cancelled
                  ^                  │
                  └── retry, restart ┘

*Once* means: its work may be begun again (after a failure that may pass, or when the kernel dies in
the middle of it), its end is recorded once. What the work itself did before the kernel died stays
done; a syscall with effects outside of the kernel should bear to be begun twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from lingos_kernel.errors import Cancelled, LingOSError, Refused, UsageError
from lingos_kernel.processes.process import NO_LIMITS, Limits
from lingos_kernel.security.principal import Principal

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class JobRequest:
    """A job as it is submitted."""

    principal: Principal
    syscall: str
    arguments: dict[str, Any]
    queue: str = "default"
    priority: int = 0
    delay_s: float = 0.0
    max_attempts: int = 5
    idempotency_key: str = ""
    """A second submission with this key (same queue and principal) is the first one's job."""
    expires_s: float | None = None
    """Seconds after which a job that nobody has begun is given up."""
    confirmed: bool = False
    """A person has said yes to what the syscall does."""
    limits: Limits = NO_LIMITS
    parent: int = 0
    """The process that its process is to be a child of; 0: the kernel."""
    boot: str = ""
    """Of the kernel that took it: another kernel's pids mean other processes."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it is kept; times are Unix times."""

    number: int
    round: int
    """Counts how often it was started over by hand."""
    request: JobRequest
    state: JobState
    attempts: int
    token: str
    """Of the claim under which it runs; only the latest may record an end."""
    stopped: bool
    submitted_s: float
    due_s: float
    started_s: float | None
    ended_s: float | None
    result: bytes
    """JSON; empty until it is done."""
    error: bytes
    """JSON of `errors.to_wire`: of the last attempt that failed; empty when none did."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.state in ENDED

    @property
    def key(self) -> str:
        """What identifies its entry in the broker."""
        return f"{self.number}:{self.round}"

    def is_expired(self, now: float) -> bool:
        """Whether nobody began it in time."""
        expires_s = self.request.expires_s
        never_begun = self.state == "waiting" and not self.attempts
        return never_begun and expires_s is not None and now >= self.submitted_s + expires_s


Beginning = Literal["run", "nothing", "expired", "exhausted"]


def beginning(record: JobRecord | None, round_: int, now: float) -> Beginning:
    """What to do with a job that was claimed."""
    if record is None or record.has_ended or record.round != round_:
        return "nothing"
    if record.is_expired(now):
        return "expired"
    if record.attempts >= record.request.max_attempts:
        return "exhausted"
    return "run"


Verdict = Literal["retry", "failed", "cancelled"]


def verdict(error: LingOSError, record: JobRecord) -> Verdict:
    """What becomes of a job whose attempt ended in an error.

    `record.attempts` counts that attempt. Errors that would come again unchanged end it at once.
    """
    if isinstance(error, Cancelled):
        return "cancelled"
    if isinstance(error, UsageError | Refused) or record.attempts >= record.request.max_attempts:
        return "failed"
    return "retry"


def describe(record: JobRecord) -> dict[str, Any]:
    """The JSON-able form of a record, without the result."""
    request = record.request
    return {
        "job_id": str(record.number),
        "syscall": request.syscall,
        "arguments": request.arguments,
        "state": record.state,
        "stopped": record.stopped,
        "queue": request.queue,
        "priority": request.priority,
        "principal": request.principal.name,
        "attempts": record.attempts,
        "max_attempts": request.max_attempts,
        "submitted_s": record.submitted_s,
        "due_s": record.due_s,
        "started_s": record.started_s,
        "ended_s": record.ended_s,
        "result_bytes": len(record.result),
        "error": msgspec.json.decode(record.error) if record.error else None,
    }
