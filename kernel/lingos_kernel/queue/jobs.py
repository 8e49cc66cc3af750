"""Durable jobs as plain data, and the pure decisions about them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lingos_kernel.errors import InvalidArguments, QueueFull
from lingos_kernel.queue.rows import QueueState

Fate = Literal["retry", "dead", "lost"]
"""What became of a failed job; lost: the claim was no longer ours, nothing was changed."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is put."""

    queue: str
    payload: bytes
    priority: int = 0
    """-20 to 19, lower is more urgent."""
    delay_s: float = 0.0
    idempotency_key: str = ""
    """A second put with this key (same queue and tenant) is the first one's job."""
    tenant: str = ""
    max_attempts: int = 5
    """Claims after which the job is a dead letter."""
    expires_s: float | None = None
    """Seconds from now; a job that nobody claimed by then is a dead letter."""

    def check(self) -> None:
        """Raise InvalidArguments unless the job makes sense."""
        if not self.queue:
            raise InvalidArguments("a job needs the name of a queue")
        if not -20 <= self.priority <= 19:
            raise InvalidArguments(f"priority {self.priority} is not within -20 to 19")
        if self.delay_s < 0 or self.max_attempts < 1:
            raise InvalidArguments("a job needs delay_s >= 0 and max_attempts >= 1")


@dataclass(frozen=True, slots=True)
class Job:
    """A job as a worker holds it. It must be acknowledged, failed or extended in time."""

    job_id: str
    queue: str
    payload: bytes
    priority: int
    tenant: str
    attempt: int
    """1 for the first."""
    max_attempts: int
    worker: str
    """Who claimed it; nobody else can end or extend the claim."""
    created_s: float
    """Unix time."""
    receipt: int
    """Differs for every claim of the job; only the latest counts."""


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that nobody will try again unless it is requeued."""

    job_id: str
    queue: str
    payload: bytes
    tenant: str
    attempts: int
    error: str
    died_s: float
    """Unix time."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The jobs of one queue, by state, at one moment."""

    queue: str
    ready: int
    delayed: int
    claimed: int
    dead: int
    put_total: int
    """Since this broker was opened, by it."""
    done_total: int
    """Acknowledged since this broker was opened, by it."""
    oldest_s: float
    """Age of the oldest job that waits."""

    def row(self, bound: int) -> QueueState:
        """The queue as the snapshot shows it."""
        return QueueState(
            name=f"jobs:{self.queue}",
            depth=self.ready + self.delayed,
            bound=bound,
            consumers=self.claimed,
            put_total=self.put_total,
            taken_total=self.done_total,
            oldest_s=self.oldest_s,
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many jobs that have not ended a queue may hold, of all tenants and of each."""

    queue: int
    tenant: int

    def of(self, tenant: str | None) -> int:
        """The bound of a tenant's jobs; None: of all together."""
        return self.queue if tenant is None else self.tenant

    def refusal(self, queue: str, tenant: str | None) -> QueueFull:
        """What to raise when there is no room; the tenant whose share is used up, if it is that."""
        if tenant is None:
            text = f"job queue {queue!r} is full ({self.queue} jobs)"
            return QueueFull(text, retry_after_s=1.0, queue=queue)
        text = f"tenant {tenant!r} has its {self.tenant} jobs in the job queue {queue!r}"
        return QueueFull(text, retry_after_s=1.0, queue=queue, tenant=tenant)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a failed job waits: base * factor ** (attempt - 1), at most limit, less jitter."""

    base_s: float = 1.0
    factor: float = 2.0
    limit_s: float = 300.0
    jitter: float = 0.5
    """Share of the delay that is left to chance, 0 to 1, so that jobs do not come back at once."""

    def delay_s(self, attempt: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after this attempt; `chance` gives 0 to 1."""
        exponent = min(attempt - 1, 64)
        full_s = min(self.base_s * self.factor**exponent, self.limit_s)
        return full_s * (1.0 - self.jitter * chance())
