"""The contract of durable job queues; in memory, in SQLite, in Redis (see `open_broker`).

A job that was put is in exactly one state at any time:

    put ──> delayed ──> ready ──claim──> claimed ──acknowledge──> gone
                 ^        ^                │ │
                 │        └─ visibility over │ fail
                 └───────── back-off ────────┤
                                             └─ no attempts left, or expired ──> dead

A job is claimed by one worker at a time, who alone can end the claim. It ends by acknowledge or
fail, or is lost when its visibility time is over or `recover` takes it back; a lost claim can
change nothing any more. So a job is acknowledged once, whatever crashes; its work may be begun more
than once, as everywhere.

Whoever names a queue may claim from it: `names.QueueName` gives each tenant queues of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.queue.jobs import DeadJob, Fate, Job, NewJob, QueueStats
from lingos_kernel.queue.rows import QueueState

DEFAULT_BOUND = 1_000_000
"""Jobs of a queue that have not ended."""
DEFAULT_TENANT_BOUND = 250_000
"""Those of one tenant, so that none can keep the others out."""


class Broker(Protocol):
    """Durable queues of jobs. All methods are awaited on one event loop and none blocks it."""

    async def put(
        self,
        queue: str,
        payload: bytes,
        *,
        priority: int = 0,
        delay_s: float = 0.0,
        idempotency_key: str = "",
        tenant: str = "",
        max_attempts: int = 5,
        expires_s: float | None = None,
    ) -> str:
        """The job's id, once the job is accepted for good; see `NewJob` for the arguments.

        Raises QueueFull when the queue or the tenant has its bound, InvalidArguments.
        """

    async def put_many(self, jobs: Sequence[NewJob]) -> list[str]:
        """Put all of them or, on any error, none."""

    async def claim(
        self,
        queues: Sequence[str],
        worker: str,
        *,
        visibility_s: float = 60.0,
        limit: int = 1,
        wait_s: float = 0.0,
    ) -> list[Job]:
        """Up to `limit` jobs, by priority, then arrival; [] when none came within `wait_s`.

        They are the worker's for `visibility_s`. A cancelled claim claims nothing.
        """

    async def acknowledge(self, job: Job) -> bool:
        """The job is done; False when the claim was lost and so nothing was changed."""

    async def fail(
        self, job: Job, error: str, *, retry: bool = True, delay_s: float | None = None
    ) -> Fate:
        """The attempt failed: try again after `delay_s` (default: back-off), or bury the job."""

    async def extend(self, job: Job, visibility_s: float) -> bool:
        """The worker needs `visibility_s` more, from now; False when the claim was lost."""

    async def recover(self, worker: str) -> int:
        """A worker has died: its claims are lost now, the jobs ready again; how many."""

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadJob]:
        """The dead letters of a queue, oldest first."""

    async def requeue(self, job_id: str, *, tenant: str | None = None) -> bool:
        """Give a dead letter all its attempts again; False when there is no such dead letter.

        With a `tenant`, only one of that tenant's.
        """

    async def purge(self, queue: str) -> int:
        """Delete the dead letters of a queue, and forget their idempotency keys; how many."""

    async def stats(self) -> list[QueueStats]:
        """Every queue with jobs, by name."""

    async def rows(self) -> tuple[QueueState, ...]:
        """Every queue with jobs, as the snapshot shows it."""

    async def close(self) -> None:
        """Finish what was accepted and let go of files and connections; waiting claims get []."""


def open_broker(
    url: str, *, bound: int = DEFAULT_BOUND, tenant_bound: int = DEFAULT_TENANT_BOUND
) -> Broker:
    """The broker for `memory:`, `sqlite:/path/to/file` or `redis://host:port/db`.

    `bound` and `tenant_bound` limit each queue's jobs that have not ended. Raises InvalidArguments
    for another scheme, ConfigError when its package is not installed.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "memory":
        from lingos_kernel.queue.memory_broker import MemoryBroker

        return MemoryBroker(bound=bound, tenant_bound=tenant_bound)
    if scheme == "sqlite":
        from lingos_kernel.queue.sqlite_broker import SqliteBroker

        return SqliteBroker(Path(rest), bound=bound, tenant_bound=tenant_bound)
    if scheme in ("redis", "rediss", "unix"):
        from lingos_kernel.queue.redis_broker import RedisBroker

        return RedisBroker(url, bound=bound, tenant_bound=tenant_bound)
    raise InvalidArguments(
        f"no broker for {url!r}", hint="use memory:, sqlite:/path/to/file or redis://host:port/db"
    )
