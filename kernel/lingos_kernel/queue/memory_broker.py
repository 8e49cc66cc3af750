"""Job queues in memory: the broker for tests and for programs that need no durability."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lingos_kernel.errors import Cancelled
from lingos_kernel.queue.broker import DEFAULT_BOUND, DEFAULT_TENANT_BOUND
from lingos_kernel.queue.clock import Clock, ForwardClock, SteadyClock
from lingos_kernel.queue.jobs import Backoff, Bounds, DeadJob, Fate, Job, NewJob, QueueStats
from lingos_kernel.queue.rows import QueueState


@dataclass(slots=True)
class _Entry:
    """A job and its state: ready, delayed, claimed or dead."""

    number: int
    job: NewJob
    state: str
    created_s: float
    due_s: float
    """When a delayed job is ready, and a claim is lost."""
    expires_s: float
    attempts: int = 0
    receipt: int = 0
    worker: str = ""
    error: str = ""


class MemoryBroker:
    """See `broker.Broker`. A claim looks at every job: meant for some thousand of them."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        bound: int = DEFAULT_BOUND,
        tenant_bound: int = DEFAULT_TENANT_BOUND,
        backoff: Backoff | None = None,
        key_retention_s: float = 86_400.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`key_retention_s`: how long the idempotency key of a job that is done is remembered."""
        self._now = ForwardClock(clock or SteadyClock())
        self._bound = bound
        self._bounds = Bounds(bound, tenant_bound)
        self._backoff = backoff or Backoff()
        self._key_retention_s = key_retention_s
        self._chance = chance
        self._number = 0
        self._entries: dict[str, _Entry] = {}
        self._keys: dict[tuple[str, str, str], tuple[str, float]] = {}
        # Jobs that have not ended, by queue and tenant; under None, of all tenants.
        self._live: Counter[tuple[str, str | None]] = Counter()
        self._put_totals: Counter[str] = Counter()
        self._done_totals: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._closed = False

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
        """See `Broker.put`."""
        job = NewJob(
            queue, payload, priority, delay_s, idempotency_key, tenant, max_attempts, expires_s
        )
        return (await self.put_many([job]))[0]

    async def put_many(self, jobs: Sequence[NewJob]) -> list[str]:
        """See `Broker.put_many`."""
        if self._closed:
            raise Cancelled("the job store in memory is closed")
        now = self._now()
        for job in jobs:
            job.check()
        wanted: Counter[tuple[str, str | None]] = Counter()
        for job in jobs:
            wanted.update([(job.queue, None), (job.queue, job.tenant)])
        for (queue, tenant), count in wanted.items():
            if self._live[queue, tenant] + count > self._bounds.of(tenant):
                raise self._bounds.refusal(queue, tenant)
        ids = [self._put(job, now) for job in jobs]
        self._wake()
        return ids

    def _put(self, job: NewJob, now: float) -> str:
        key = _key(job)
        if key in self._keys:
            job_id, forget_s = self._keys[key]
            if now < forget_s:
                return job_id
        self._number += 1
        job_id = str(self._number)
        self._entries[job_id] = _Entry(
            number=self._number,
            job=job,
            state="delayed" if job.delay_s else "ready",
            created_s=now,
            due_s=now + job.delay_s,
            expires_s=float("inf") if job.expires_s is None else now + job.expires_s,
        )
        if job.idempotency_key:
            self._keys[key] = (job_id, float("inf"))
        self._count_live(job, 1)
        self._put_totals[job.queue] += 1
        return job_id

    def _count_live(self, job: NewJob, jobs: int) -> None:
        for tenant in (None, job.tenant):
            self._live[job.queue, tenant] += jobs

    async def claim(
        self,
        queues: Sequence[str],
        worker: str,
        *,
        visibility_s: float = 60.0,
        limit: int = 1,
        wait_s: float = 0.0,
    ) -> list[Job]:
        """See `Broker.claim`."""
        deadline = asyncio.get_running_loop().time() + wait_s
        while not self._closed:
            changed = self._changed
            now = self._now()
            jobs = self._claim(queues, worker, visibility_s, limit, now)
            remaining_s = deadline - asyncio.get_running_loop().time()
            if jobs or remaining_s <= 0:
                return jobs
            due_s = min((e.due_s - now for e in self._timed(queues)), default=remaining_s)
            try:
                async with asyncio.timeout(max(min(remaining_s, due_s), 0.0)):
                    await changed.wait()
            except TimeoutError:
                continue
        return []

    def _claim(
        self, queues: Sequence[str], worker: str, visibility_s: float, limit: int, now: float
    ) -> list[Job]:
        self._advance(now)
        ready = [
            (e.job.priority, e.number, job_id)
            for job_id, e in self._entries.items()
            if e.state == "ready" and e.job.queue in queues
        ]
        return [
            self._take(job_id, worker, now + visibility_s) for _, _, job_id in sorted(ready)[:limit]
        ]

    def _timed(self, queues: Sequence[str]) -> Iterable[_Entry]:
        """Jobs that time alone makes ready."""
        entries = (e for e in self._entries.values() if e.job.queue in queues)
        return (e for e in entries if e.state in ("delayed", "claimed"))

    def _take(self, job_id: str, worker: str, until_s: float) -> Job:
        entry = self._entries[job_id]
        entry.state, entry.worker, entry.due_s = "claimed", worker, until_s
        entry.attempts += 1
        entry.receipt += 1
        job = entry.job
        return Job(
            job_id=job_id,
            queue=job.queue,
            payload=job.payload,
            priority=job.priority,
            tenant=job.tenant,
            attempt=entry.attempts,
            max_attempts=job.max_attempts,
            worker=worker,
            created_s=entry.created_s,
            receipt=entry.receipt,
        )

    def _advance(self, now: float) -> None:
        """Do what has become due: delays, lost claims, expiry, forgetting of keys."""
        for entry in self._entries.values():
            if entry.state in ("ready", "delayed") and entry.expires_s <= now:
                self._bury(entry, now, "expired before anybody claimed it")
            elif entry.state == "delayed" and entry.due_s <= now:
                entry.state = "ready"
            elif entry.state == "claimed" and entry.due_s <= now:
                self._give_back(entry, now)
        self._keys = {key: kept for key, kept in self._keys.items() if now < kept[1]}

    def _give_back(self, entry: _Entry, now: float) -> None:
        """A claim is lost."""
        if entry.attempts >= entry.job.max_attempts:
            self._bury(entry, now, f"worker {entry.worker} did not finish attempt {entry.attempts}")
        else:
            entry.state = "ready"

    def _bury(self, entry: _Entry, now: float, error: str) -> None:
        entry.state, entry.due_s, entry.error = "dead", now, error
        self._count_live(entry.job, -1)

    def _held(self, job: Job) -> _Entry | None:
        """The job's entry while this claim holds it."""
        entry = self._entries.get(job.job_id)
        if entry is None or entry.state != "claimed":
            return None
        return entry if (entry.receipt, entry.worker) == (job.receipt, job.worker) else None

    async def acknowledge(self, job: Job) -> bool:
        """See `Broker.acknowledge`."""
        entry = self._held(job)
        if entry is None:
            return False
        del self._entries[job.job_id]
        self._count_live(entry.job, -1)
        self._done_totals[entry.job.queue] += 1
        if entry.job.idempotency_key:
            forget_s = self._now() + self._key_retention_s
            self._keys[_key(entry.job)] = (job.job_id, forget_s)
        return True

    async def fail(
        self, job: Job, error: str, *, retry: bool = True, delay_s: float | None = None
    ) -> Fate:
        """See `Broker.fail`."""
        entry = self._held(job)
        if entry is None:
            return "lost"
        now = self._now()
        if not retry or entry.attempts >= entry.job.max_attempts:
            self._bury(entry, now, error)
            return "dead"
        if delay_s is None:
            delay_s = self._backoff.delay_s(entry.attempts, self._chance)
        entry.state, entry.due_s, entry.error = "delayed", now + delay_s, error
        self._wake()
        return "retry"

    async def extend(self, job: Job, visibility_s: float) -> bool:
        """See `Broker.extend`."""
        entry = self._held(job)
        if entry is not None:
            entry.due_s = self._now() + visibility_s
        return entry is not None

    async def recover(self, worker: str) -> int:
        """See `Broker.recover`."""
        now = self._now()
        lost = [e for e in self._entries.values() if e.state == "claimed" and e.worker == worker]
        for entry in lost:
            self._give_back(entry, now)
        self._wake()
        return len(lost)

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadJob]:
        """See `Broker.dead`."""
        self._advance(self._now())
        dead = sorted(self._dead(queue), key=lambda job_id: self._entries[job_id].due_s)
        return [self._dead_job(job_id) for job_id in dead[:limit]]

    def _dead(self, queue: str) -> list[str]:
        return [
            job_id
            for job_id, e in self._entries.items()
            if e.state == "dead" and e.job.queue == queue
        ]

    def _dead_job(self, job_id: str) -> DeadJob:
        entry = self._entries[job_id]
        job = entry.job
        return DeadJob(
            job_id, job.queue, job.payload, job.tenant, entry.attempts, entry.error, entry.due_s
        )

    async def requeue(self, job_id: str, *, tenant: str | None = None) -> bool:
        """See `Broker.requeue`."""
        entry = self._entries.get(job_id)
        if entry is None or entry.state != "dead" or tenant not in (None, entry.job.tenant):
            return False
        entry.state, entry.attempts, entry.error = "ready", 0, ""
        self._count_live(entry.job, 1)
        entry.expires_s = float("inf")
        self._wake()
        return True

    async def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        dead = self._dead(queue)
        for job_id in dead:
            self._keys.pop(_key(self._entries.pop(job_id).job), None)
        return len(dead)

    async def stats(self) -> list[QueueStats]:
        """See `Broker.stats`."""
        now = self._now()
        self._advance(now)
        queues = sorted({entry.job.queue for entry in self._entries.values()})
        return [self._stats(queue, now) for queue in queues]

    def _stats(self, queue: str, now: float) -> QueueStats:
        entries = [entry for entry in self._entries.values() if entry.job.queue == queue]
        states = Counter(entry.state for entry in entries)
        waiting = [e.created_s for e in entries if e.state in ("ready", "delayed")]
        return QueueStats(
            queue=queue,
            ready=states["ready"],
            delayed=states["delayed"],
            claimed=states["claimed"],
            dead=states["dead"],
            put_total=self._put_totals[queue],
            done_total=self._done_totals[queue],
            oldest_s=now - min(waiting, default=now),
        )

    async def rows(self) -> tuple[QueueState, ...]:
        """See `Broker.rows`."""
        return tuple(stats.row(self._bound) for stats in await self.stats())

    async def close(self) -> None:
        """See `Broker.close`."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        """Tell all waiting claims to look again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _key(job: NewJob) -> tuple[str, str, str]:
    return (job.queue, job.tenant, job.idempotency_key)
