"""Where jobs are handed in, asked for and called off."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from lingos_kernel.errors import (
    CallTimeout,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    UnknownJob,
)
from lingos_kernel.processes.job_store import JobStore
from lingos_kernel.processes.jobs import JobRecord, JobRequest, JobState
from lingos_kernel.processes.rights import ADMIN
from lingos_kernel.queue.broker import Broker
from lingos_kernel.queue.jobs import NewJob
from lingos_kernel.security.principal import Principal

QUEUE = "syscall:"
"""What the broker's names of job queues begin with."""
LOOK_AGAIN_S = 1.0
"""How often somebody who waits looks for what another kernel has recorded."""
_NO_LIMIT = 2**31 - 1
"""Attempts that the broker allows: the record decides, which counts only those that were begun."""


class Address(msgspec.Struct, frozen=True):
    """What the broker holds of a job: where its record is."""

    number: int
    round: int


class JobDesk:
    """Accepts jobs for good: the record first, then its place in the broker's queue."""

    def __init__(self, store: JobStore, broker: Broker) -> None:
        self._store = store
        self._broker = broker
        self._identity = ""
        self.boot = secrets.token_hex(8)
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}
        self.submitted = asyncio.Event()
        """Set when a job was accepted."""

    async def submit(self, request: JobRequest) -> JobRecord:
        """Accept a job; from the return on it will be done. Raises `QueueFull`.

        A caller who leaves meanwhile changes nothing: it is accepted wholly or not at all.
        """
        return await asyncio.shield(asyncio.ensure_future(self._accept(request)))

    async def _accept(self, request: JobRequest) -> JobRecord:
        record, is_new = await self._store.add(request)
        if is_new:
            try:
                await self.enqueue([record])
            except LingOSError:
                await self._store.forget(record.number)
                raise
        return record

    async def enqueue(self, records: list[JobRecord]) -> None:
        """Give records their places in the broker; those that have one keep it."""
        self._identity = self._identity or await self._store.identity()
        await self._broker.put_many([self._entry(record) for record in records])
        self.submitted.set()

    def _entry(self, record: JobRecord) -> NewJob:
        request = record.request
        return NewJob(
            queue=QUEUE + request.queue,
            payload=msgspec.json.encode(Address(record.number, record.round)),
            priority=request.priority,
            delay_s=max(record.due_s - self._store.now(), 0.0),
            idempotency_key=self.key(record),
            tenant=request.principal.tenant,
            max_attempts=_NO_LIMIT,
        )

    def key(self, record: JobRecord) -> str:
        """What no other job has, of this store or another; known once a job was enqueued."""
        return f"{self._identity}:{record.key}"

    async def get(self, job_id: str, by: Principal) -> JobRecord:
        """A job that `by` may act on; raises `UnknownJob`, `NotPermitted`."""
        record = await self._store.get(int(job_id)) if job_id.isdecimal() else None
        if record is None:
            raise UnknownJob(
                f"there is no job {job_id}", hint="`lingos job list` lists them", job_id=job_id
            )
        theirs = record.request.principal
        if (theirs.tenant, theirs.name) != (by.tenant, by.name) and not by.may(ADMIN):
            raise NotPermitted(
                f"job {job_id} belongs to {theirs.name}, not to {by.name}",
                hint=f"acting on it needs the capability {ADMIN}",
                job_id=job_id,
            )
        return record

    async def list(
        self, by: Principal, *, state: JobState | None, queue: str | None, limit: int
    ) -> list[JobRecord]:
        """The newest jobs of `by`, or of everybody for an administrator."""
        owner = None if by.may(ADMIN) else by
        return await self._store.newest(owner=owner, state=state, queue=queue, limit=limit)

    async def wait(self, job_id: str, by: Principal, *, timeout_s: float | None) -> JobRecord:
        """The record of a job that has ended; raises `CallTimeout` when it does not in time."""
        number = (await self.get(job_id, by)).number
        until_s = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
        while True:
            with self._told(number) as told:
                record = await self.get(job_id, by)
                left_s = until_s - time.monotonic()
                if record.has_ended:
                    return record
                if left_s <= 0:
                    raise CallTimeout(
                        f"job {job_id} has not ended within {timeout_s:g} s",
                        hint="wait longer, or see with job.show how far it is",
                        job_id=job_id,
                    )
                await asyncio.wait({told}, timeout=min(left_s, LOOK_AGAIN_S))

    async def cancel(self, job_id: str, by: Principal) -> bool:
        """End a job without a result; False when it has ended before."""
        record = await self.get(job_id, by)
        is_cancelled = await self._store.cancel(record.number)
        self.tell(record.number)
        return is_cancelled

    async def retry(self, job_id: str, by: Principal) -> JobRecord:
        """Start a failed or cancelled job over; raises `InvalidArguments` for any other."""
        before = await self.get(job_id, by)
        record = await self._store.restart(before.number)
        if record is None:
            raise InvalidArguments(
                f"job {job_id} is {before.state}", hint="only failed and cancelled jobs start over"
            )
        await self.enqueue([record])
        return record

    def tell(self, number: int) -> None:
        """A job has ended: wake who waits for it."""
        for waiter in self._waiting.get(number, ()):
            if not waiter.done():
                waiter.set_result(None)

    @contextmanager
    def _told(self, number: int) -> Iterator[asyncio.Future[None]]:
        """A future that `tell` settles; another kernel, which may do the job, does not."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(number, set())
        waiters.add(waiter)
        try:
            yield waiter
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(number, None)
