"""Durable job queues in Redis Streams, for several machines; needs the extra `redis`.

Each queue is a stream per priority with one consumer group. Every step is a Lua script, so Redis
does it wholly or not at all. Time is the Redis server's. How durable a put is, Redis decides: with
`appendonly yes` and `appendfsync always` an accepted job survives a power cut, with `everysec` up
to the last second; a crash of the kernel loses nothing either way.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, cast

from lingos_kernel.errors import Busy, Cancelled, ConfigError
from lingos_kernel.queue import redis_scripts as scripts
from lingos_kernel.queue.broker import DEFAULT_BOUND, DEFAULT_TENANT_BOUND
from lingos_kernel.queue.clock import Clock
from lingos_kernel.queue.jobs import Backoff, Bounds, DeadJob, Fate, Job, NewJob, QueueStats
from lingos_kernel.queue.rows import QueueState

LOOK_AGAIN_S = 1.0
"""A waiting claim looks at least this often."""

SCRIPT_CONNECTIONS = 8
WAITING_CONNECTIONS = 1024
"""Most connections that are opened; further callers wait their turn."""


class RedisBroker:
    """See `broker.Broker`. Between queues of equal priority the one named first goes first."""

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "{lingos}",
        clock: Clock | None = None,
        bound: int = DEFAULT_BOUND,
        tenant_bound: int = DEFAULT_TENANT_BOUND,
        backoff: Backoff | None = None,
        key_retention_s: float = 86_400.0,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Connects on first use. `clock` replaces the server's time (for tests).

        Raises ConfigError when the package `redis` is not installed.
        """
        self._url = url.rpartition("@")[2]  # as messages show it: without a password
        self._prefix = prefix
        self._clock = clock
        self._bounds = Bounds(bound, tenant_bound)
        self._backoff = backoff or Backoff()
        self._key_retention_s = key_retention_s
        self._chance = chance
        self._put_totals: Counter[str] = Counter()
        self._done_totals: Counter[str] = Counter()
        self._undoing: set[asyncio.Task[None]] = set()
        self._closed = False
        self._scripts: dict[str, Any] = {}
        self._redis, self._listener, self._failures = _connect(url)

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
        """See `Broker.put`. After Busy it is unknown whether the job was put: use a key."""
        job = NewJob(
            queue, payload, priority, delay_s, idempotency_key, tenant, max_attempts, expires_s
        )
        return (await self.put_many([job]))[0]

    async def put_many(self, jobs: Sequence[NewJob]) -> list[str]:
        """See `Broker.put_many`."""
        arguments: list[Any] = [self._bounds.queue, self._bounds.tenant]
        for job in jobs:
            job.check()
            arguments += [job.queue, job.payload, job.priority, job.delay_s, job.idempotency_key]
            arguments += [job.tenant, job.max_attempts]
            arguments += ["" if job.expires_s is None else job.expires_s]
        reply = await self._run(scripts.PUT, *arguments)
        if isinstance(reply, bytes):
            raise self._bounds.refusal(reply.decode(), None)
        if isinstance(reply, int):
            raise self._bounds.refusal(jobs[reply].queue, jobs[reply].tenant)
        for job, is_new in zip(jobs, reply[1::2], strict=True):
            self._put_totals[job.queue] += is_new
        return [job_id.decode() for job_id in reply[::2]]

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
        deadline = time.monotonic() + wait_s
        while not self._closed:
            jobs, last_wake, due_s = await self._claim_now(queues, worker, visibility_s, limit)
            remaining_s = deadline - time.monotonic()
            if jobs or remaining_s <= 0:
                return jobs
            pause_s = max(min(remaining_s, due_s, LOOK_AGAIN_S), 0.001)
            await self._await_wake(last_wake, pause_s)
        return []

    async def acknowledge(self, job: Job) -> bool:
        """See `Broker.acknowledge`."""
        queue = await self._run(scripts.ACKNOWLEDGE, *_held(job), self._key_retention_s)
        if queue is None:
            return False
        self._done_totals[queue.decode()] += 1
        return True

    async def fail(
        self, job: Job, error: str, *, retry: bool = True, delay_s: float | None = None
    ) -> Fate:
        """See `Broker.fail`."""
        if delay_s is None:
            delay_s = self._backoff.delay_s(job.attempt, self._chance)
        fate = await self._run(scripts.FAIL, *_held(job), error, int(retry), delay_s)
        return cast("Fate", fate.decode())

    async def extend(self, job: Job, visibility_s: float) -> bool:
        """See `Broker.extend`."""
        return bool(await self._run(scripts.EXTEND, *_held(job), visibility_s))

    async def recover(self, worker: str) -> int:
        """See `Broker.recover`."""
        return int(await self._run(scripts.RECOVER, worker))

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadJob]:
        """See `Broker.dead`."""
        return [
            DeadJob(
                job_id=job_id.decode(),
                queue=name.decode(),
                payload=payload,
                tenant=tenant.decode(),
                attempts=int(attempts),
                error=error.decode(),
                died_s=float(died_s),
            )
            for job_id, name, payload, tenant, attempts, error, died_s in await self._run(
                scripts.DEAD, queue, limit
            )
        ]

    async def requeue(self, job_id: str, *, tenant: str | None = None) -> bool:
        """See `Broker.requeue`."""
        of = () if tenant is None else (tenant,)
        return bool(await self._run(scripts.REQUEUE, job_id, *of))

    async def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        return int(await self._run(scripts.PURGE, queue))

    async def stats(self) -> list[QueueStats]:
        """See `Broker.stats`."""
        rows = [
            (name.decode(), waiting, delayed, claimed, dead, float(oldest_s))
            for name, waiting, delayed, claimed, dead, oldest_s in await self._run(scripts.STATS)
        ]
        return [
            QueueStats(
                queue=queue,
                ready=waiting - delayed,
                delayed=delayed,
                claimed=claimed,
                dead=dead,
                put_total=self._put_totals[queue],
                done_total=self._done_totals[queue],
                oldest_s=oldest_s,
            )
            for queue, waiting, delayed, claimed, dead, oldest_s in sorted(rows)
            if waiting or claimed or dead
        ]

    async def rows(self) -> tuple[QueueState, ...]:
        """See `Broker.rows`."""
        return tuple(stats.row(self._bounds.queue) for stats in await self.stats())

    async def close(self) -> None:
        """See `Broker.close`."""
        if self._closed:
            return
        self._closed = True
        if self._undoing:
            await asyncio.gather(*self._undoing, return_exceptions=True)
        await self._redis.aclose()
        await self._listener.aclose()

    async def _claim_now(
        self, queues: Sequence[str], worker: str, visibility_s: float, limit: int
    ) -> tuple[list[Job], str, float]:
        """The jobs, the last wake, and the seconds until time alone may bring jobs."""
        if not queues or limit < 1:
            return [], "0-0", float("inf")
        asked = asyncio.ensure_future(
            self._run(scripts.CLAIM, worker, visibility_s, limit, *queues)
        )
        try:
            rows, last_wake, due_s = await asyncio.shield(asked)
        except asyncio.CancelledError:
            undoing = asyncio.create_task(self._undo(asked))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            raise
        return [_job(row) for row in rows], last_wake.decode(), float(due_s or "inf")

    async def _undo(self, asked: asyncio.Future[Any]) -> None:
        """The claimer is gone: put back what it claimed."""
        try:
            rows, _, _ = await asked
            for row in rows:
                await self._run(scripts.UNCLAIM, *_held(_job(row)))
        except (Busy, Cancelled):  # Redis is gone too: the claims end with their visibility
            return

    async def _await_wake(self, last_wake: str, pause_s: float) -> None:
        """Return when jobs may have become ready, at the latest after the pause."""
        stream = f"{self._prefix}:wake"
        try:
            await self._listener.xread({stream: last_wake}, count=1, block=int(pause_s * 1000) or 1)
        except self._failures as error:
            if not self._closed:
                raise self._failure(error) from error

    async def _run(self, script: str, *arguments: Any) -> Any:
        """Run a script. Raises Busy when Redis does not answer, Cancelled after `close`."""
        if self._closed and not self._undoing:
            raise Cancelled(f"the job store {self._url} is closed")
        now = "" if self._clock is None else self._clock()
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(script)
        try:
            return await self._scripts[script](args=[self._prefix, now, *arguments])
        except self._failures as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> Busy:
        return Busy(f"Redis at {self._url} failed: {error}", hint="is it running and writable?")


def _connect(url: str) -> tuple[Any, Any, tuple[type[Exception], ...]]:
    """A client for scripts, one that waits for wakes, and their errors.

    Neither repeats a command by itself (a put could be doubled). Scripts queue for a connection;
    each claim that waits has its own.
    """
    try:
        from redis import asyncio as redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError
    except ImportError as error:
        raise ConfigError(
            "the Redis broker needs the package redis", hint="pip install 'lingos[redis]'"
        ) from error
    clients = []
    for connections in (SCRIPT_CONNECTIONS, WAITING_CONNECTIONS):
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=None, retry=Retry(NoBackoff(), 0)
        )
        clients.append(redis.Redis.from_pool(pool))
    return clients[0], clients[1], (RedisError, OSError)


def _job(row: Sequence[bytes]) -> Job:
    return Job(
        job_id=row[0].decode(),
        queue=row[1].decode(),
        payload=row[2],
        priority=int(row[3]),
        tenant=row[4].decode(),
        attempt=int(row[5]),
        max_attempts=int(row[6]),
        worker=row[7].decode(),
        created_s=float(row[8]),
        receipt=int(row[9]),
    )


def _held(job: Job) -> tuple[str, int, str]:
    return (job.job_id, job.receipt, job.worker)
