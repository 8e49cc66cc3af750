"""Durable job queues in one SQLite file (WAL): the embedded default.

Promise: a job whose put has returned survives `kill -9` of the process, and is acknowledged once.
With durability="power" it survives a power cut too (see `sqlite_writer.Durability`).
Several processes may share the file; a waiting claim notices their puts within a second.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lingos_kernel.queue import sqlite_schema as sql
from lingos_kernel.queue.broker import DEFAULT_BOUND, DEFAULT_TENANT_BOUND
from lingos_kernel.queue.clock import Clock, ForwardClock, SteadyClock
from lingos_kernel.queue.jobs import Backoff, Bounds, DeadJob, Fate, Job, NewJob, QueueStats
from lingos_kernel.queue.rows import QueueState
from lingos_kernel.queue.sqlite_room import Room
from lingos_kernel.queue.sqlite_writer import Durability, SqliteWriter

LOOK_AGAIN_S = 1.0
"""A waiting claim looks at least this often, for what other processes have put."""

claim_statement = lru_cache(maxsize=32)(sql.claim)


class SqliteBroker:
    """See `broker.Broker`."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        bound: int = DEFAULT_BOUND,
        tenant_bound: int = DEFAULT_TENANT_BOUND,
        backoff: Backoff | None = None,
        key_retention_s: float = 86_400.0,
        durability: Durability = "process",
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Open or make the file; takes milliseconds. Raises LingOSError.

        `clock` gives Unix time; `bound` limits each queue's jobs that have not ended,
        `tenant_bound` those of one tenant; `key_retention_s`: how long the idempotency key of a
        job that is done is remembered.
        """
        self._bound = bound
        self._backoff = backoff or Backoff()
        self._key_retention_s = key_retention_s
        self._chance = chance
        self._changed = asyncio.Event()
        self._closed = False
        # The rest is used by the writer's thread alone.
        self._room = Room(Bounds(bound, tenant_bound))
        self._put_totals: Counter[str] = Counter()
        self._done_totals: Counter[str] = Counter()
        self._clock: Clock = clock or SteadyClock()
        self._now: ForwardClock | None = None
        self._time_saved_s = 0.0
        self._writer = SqliteWriter(
            path, sql.SCHEMA, sql.VERSION, durability=durability, on_rollback=self._room.forget
        )

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
        for job in jobs:
            job.check()
        ids = await self._writer.run(lambda connection: self._put(connection, jobs))
        self._wake()
        return ids

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
            changed = self._changed
            jobs, due_s = await self._claim_now(queues, worker, visibility_s, limit)
            remaining_s = deadline - time.monotonic()
            if jobs or remaining_s <= 0:
                return jobs
            try:
                async with asyncio.timeout(max(min(remaining_s, due_s, LOOK_AGAIN_S), 0.001)):
                    await changed.wait()
            except TimeoutError:
                continue
        return []

    async def acknowledge(self, job: Job) -> bool:
        """See `Broker.acknowledge`."""
        return await self._writer.run(lambda connection: self._acknowledge(connection, job))

    async def fail(
        self, job: Job, error: str, *, retry: bool = True, delay_s: float | None = None
    ) -> Fate:
        """See `Broker.fail`."""
        fate = await self._writer.run(
            lambda connection: self._fail(connection, job, error, retry, delay_s)
        )
        self._wake()
        return fate

    async def extend(self, job: Job, visibility_s: float) -> bool:
        """See `Broker.extend`."""

        def extend(connection: sqlite3.Connection) -> bool:
            until_s = self._time(connection) + visibility_s
            return bool(connection.execute(sql.EXTEND_HELD, (until_s, *_held(job))).rowcount)

        return await self._writer.run(extend)

    async def recover(self, worker: str) -> int:
        """See `Broker.recover`."""

        def recover(connection: sqlite3.Connection) -> int:
            now = self._time(connection)
            return self._note_buried(connection.execute(sql.LOSE_WORKER, (now, worker)))

        lost = await self._writer.run(recover)
        self._wake()
        return lost

    async def dead(self, queue: str, *, limit: int = 100) -> list[DeadJob]:
        """See `Broker.dead`."""

        def dead(connection: sqlite3.Connection) -> list[DeadJob]:
            self._advance(connection)
            rows = connection.execute(sql.DEAD_LETTERS, (queue, limit))
            return [DeadJob(str(row[0]), *row[1:]) for row in rows]

        return await self._writer.run(dead)

    async def requeue(self, job_id: str, *, tenant: str | None = None) -> bool:
        """See `Broker.requeue`."""

        def requeue(connection: sqlite3.Connection) -> bool:
            letter = {"id": _number(job_id), "tenant": tenant}
            requeued = connection.execute(sql.REQUEUE, letter).fetchone()
            if requeued:
                self._room.take(*requeued)
            return requeued is not None

        done = await self._writer.run(requeue)
        self._wake()
        return done

    async def purge(self, queue: str) -> int:
        """See `Broker.purge`."""
        return await self._writer.run(
            lambda connection: connection.execute(sql.PURGE, (queue,)).rowcount
        )

    async def stats(self) -> list[QueueStats]:
        """See `Broker.stats`. Reads every job: for some ten thousand of them, milliseconds."""
        return await self._writer.run(self._stats)

    async def rows(self) -> tuple[QueueState, ...]:
        """See `Broker.rows`."""
        return tuple(stats.row(self._bound) for stats in await self.stats())

    async def close(self) -> None:
        """See `Broker.close`."""
        self._closed = True
        self._wake()
        await self._writer.close()

    def _wake(self) -> None:
        """Tell all waiting claims to look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _claim_now(
        self, queues: Sequence[str], worker: str, visibility_s: float, limit: int
    ) -> tuple[list[Job], float]:
        """The jobs, and without any the seconds until time alone may bring some."""
        claimed: list[Job] = []

        def claim(connection: sqlite3.Connection) -> tuple[list[Job], float]:
            now = self._advance(connection)
            claimed[:] = self._claim(connection, queues, worker, now + visibility_s, limit)
            if claimed:
                return claimed, 0.0
            (due_s,) = connection.execute(sql.NEXT_DUE).fetchone()
            return claimed, float("inf") if due_s is None else due_s - now

        def unclaim(connection: sqlite3.Connection) -> None:
            for job in claimed:
                connection.execute(sql.UNCLAIM_HELD, _held(job))

        return await self._writer.run(claim, undo=unclaim)

    # Below: operations, run by the writer's thread within a transaction.

    def _time(self, connection: sqlite3.Connection) -> float:
        """Unix time, never behind what an earlier process has seen (to the second)."""
        if self._now is None:
            row = connection.execute(sql.LOAD_TIME).fetchone()
            self._now = ForwardClock(self._clock, floor_s=row[0] if row else 0.0)
        now = self._now()
        if now - self._time_saved_s >= 1.0:
            connection.execute(sql.SAVE_TIME, (now,))
            self._time_saved_s = now
        return now

    def _advance(self, connection: sqlite3.Connection) -> float:
        """Do what has become due: expiry, delays, lost claims, forgetting of keys."""
        before_s = self._time_saved_s
        now = self._time(connection)
        self._note_buried(connection.execute(sql.EXPIRE_DUE, (now, now)))
        connection.execute(sql.WAKE_DUE, (now,))
        self._note_buried(connection.execute(sql.LOSE_DUE, (now, now)))
        if self._time_saved_s != before_s:  # once a second is often enough
            connection.execute(sql.FORGET_KEYS, (now - self._key_retention_s,))
        return now

    def _put(self, connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[str]:
        now = self._time(connection)
        found = [_find(connection, job) for job in jobs]
        new = [job for job, old in zip(jobs, found, strict=True) if old is None]
        self._room.check(connection, Counter((job.queue, job.tenant) for job in new), now)
        ids = []
        for job, old in zip(jobs, found, strict=True):
            # A key may also come twice among these jobs.
            number = old or (_find(connection, job) if len(jobs) > 1 else None)
            if number is None:
                number = self._insert(connection, job, now)
            ids.append(str(number))
        return ids

    def _insert(self, connection: sqlite3.Connection, job: NewJob, now: float) -> int:
        number = connection.execute(
            sql.PUT,
            (
                job.queue,
                job.tenant,
                job.priority,
                sql.DELAYED if job.delay_s else sql.READY,
                job.payload,
                job.idempotency_key or None,
                job.max_attempts,
                now,
                now + job.delay_s,
                None if job.expires_s is None else now + job.expires_s,
            ),
        ).lastrowid
        assert number is not None
        self._room.take(job.queue, job.tenant)
        self._put_totals[job.queue] += 1
        return number

    def _note_buried(self, rows: sqlite3.Cursor) -> int:
        """Make room for what was buried; how many rows there were."""
        changed = rows.fetchall()
        for queue, tenant, state in changed:
            if state == sql.DEAD:
                self._room.take(queue, tenant, -1)
        return len(changed)

    def _claim(
        self,
        connection: sqlite3.Connection,
        queues: Sequence[str],
        worker: str,
        until_s: float,
        limit: int,
    ) -> list[Job]:
        if not queues or limit < 1:
            return []
        count = min(len(queues), sql.MANY)
        named = [json.dumps(list(queues))] if count == sql.MANY else queues
        parameters: list[Any] = [worker, until_s]
        for queue in named:
            parameters += [queue, limit]
        rows = connection.execute(claim_statement(count), [*parameters, limit]).fetchall()
        rows.sort(key=lambda row: (row[3], row[0]))  # RETURNING promises no order
        return [Job(str(row[0]), *row[1:]) for row in rows]

    def _acknowledge(self, connection: sqlite3.Connection, job: Job) -> bool:
        held = _held(job)
        done = connection.execute(sql.DELETE_HELD, held).fetchone()
        if done is None:
            finish = (self._time(connection), *held)
            done = connection.execute(sql.FINISH_HELD, finish).fetchone()
        if done is None:
            return False
        queue, tenant = done
        self._done_totals[queue] += 1
        self._room.take(queue, tenant, -1)
        return True

    def _fail(
        self,
        connection: sqlite3.Connection,
        job: Job,
        error: str,
        retry: bool,
        delay_s: float | None,
    ) -> Fate:
        row = connection.execute(sql.ATTEMPTS_HELD, _held(job)).fetchone()
        if row is None:
            return "lost"
        attempts, max_attempts, queue, tenant = row
        now = self._time(connection)
        if not retry or attempts >= max_attempts:
            connection.execute(sql.FAIL_HELD, (sql.DEAD, now, error, *_held(job)))
            self._room.take(queue, tenant, -1)
            return "dead"
        if delay_s is None:
            delay_s = self._backoff.delay_s(attempts, self._chance)
        connection.execute(sql.FAIL_HELD, (sql.DELAYED, now + delay_s, error, *_held(job)))
        return "retry"

    def _stats(self, connection: sqlite3.Connection) -> list[QueueStats]:
        now = self._advance(connection)
        return [
            QueueStats(
                queue=queue,
                ready=ready,
                delayed=delayed,
                claimed=claimed,
                dead=dead,
                put_total=self._put_totals[queue],
                done_total=self._done_totals[queue],
                oldest_s=0.0 if oldest_s is None else now - oldest_s,
            )
            for queue, ready, delayed, claimed, dead, oldest_s in connection.execute(sql.STATS)
        ]


def _find(connection: sqlite3.Connection, job: NewJob) -> int | None:
    """The job that was put before with the same idempotency key."""
    if not job.idempotency_key:
        return None
    key = (job.queue, job.tenant, job.idempotency_key)
    row = connection.execute(sql.FIND_BY_KEY, key).fetchone()
    return None if row is None else int(row[0])


def _held(job: Job) -> tuple[int, int, str]:
    return (_number(job.job_id), job.receipt, job.worker)


def _number(job_id: str) -> int:
    """The row's id; 0, which no row has, for what is no id of this broker."""
    return int(job_id) if job_id.isdecimal() else 0
