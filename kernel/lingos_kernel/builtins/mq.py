"""`mq.*`: messages between processes, topics, and durable jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import InvalidArguments, NotPermitted
from lingos_kernel.processes.rights import ADMIN
from lingos_kernel.queue.jobs import DeadJob, Job
from lingos_kernel.queue.names import QueueName, as_seen_by, audience, plain, quoted
from lingos_kernel.queue.rows import QueueState
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.spec import Context, syscall

Priority = Annotated[int, Field(ge=-20, le=19, description="-20 (most urgent) to 19")]
Seconds = Annotated[float | None, Field(ge=0, description="seconds to wait at most")]
Body = Annotated[Any, Field(description="any JSON value")]
Shared = Annotated[
    bool, Field(description="mean the queue of this name that all tenants share, not the own one")
]
SharedTopic = Annotated[
    bool, Field(description="mean the topic of this name that all tenants share, not the own one")
]
DAY_S = 86_400.0


class MqSyscalls:
    """Mailboxes and topics belong to a process: use them from one that lasts."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("mq.send", cost="io")
    async def send(
        self,
        context: Context,
        to: int,
        body: Body,
        priority: Priority = 0,
        wants_reply: bool = False,
        expires_s: Seconds = None,
        timeout_s: Seconds = None,
    ) -> dict[str, Any]:
        """Put a message into the mailbox of a process, waiting for room.

        Args:
            to: the pid of the receiver.
            wants_reply: get a correlation id that `mq.reply` answers.
            expires_s: drop it, counted, when nobody reads it in time.
        """
        self._open(context, to)
        correlation_id = await self._services.mailboxes.send(
            to,
            body,
            sender=context.pid,
            priority=priority,
            ttl_s=expires_s,
            timeout_s=timeout_s,
            wants_reply=wants_reply,
        )
        return {"to": to, "correlation_id": correlation_id}

    @syscall("mq.recv", cost="io", timeout_s=DAY_S)
    async def recv(self, context: Context, timeout_s: Seconds = None) -> dict[str, Any]:
        """Take the next message out of the own mailbox: the most urgent, then the oldest."""
        self._open(context)
        return asdict(await self._services.mailboxes.recv(context.pid, timeout_s=timeout_s))

    @syscall("mq.reply", cost="io")
    async def reply(
        self, context: Context, correlation_id: str, body: Body, timeout_s: Seconds = None
    ) -> dict[str, Any]:
        """Answer a message that wants a reply, once.

        Args:
            correlation_id: of the message that was received.
        """
        self._open(context)
        await self._services.mailboxes.reply(
            correlation_id, body, sender=context.pid, timeout_s=timeout_s
        )
        return {"correlation_id": correlation_id}

    @syscall("mq.request", cost="io", timeout_s=DAY_S)
    async def request(
        self,
        context: Context,
        to: int,
        body: Body,
        priority: Priority = 0,
        timeout_s: Seconds = None,
    ) -> dict[str, Any]:
        """Send a message and wait for its reply.

        Args:
            to: the pid of the receiver.
        """
        self._open(context, to)
        reply = await self._services.mailboxes.request(
            to, body, sender=context.pid, priority=priority, timeout_s=timeout_s
        )
        return asdict(reply)

    @syscall("mq.publish", cost="io")
    async def publish(
        self,
        context: Context,
        topic: str,
        body: Body,
        expires_s: Seconds = None,
        timeout_s: Seconds = None,
        shared: SharedTopic = False,
    ) -> dict[str, Any]:
        """Tell a message to all of the tenant who subscribe to a topic; says how many it reached.

        Args:
            topic: a dotted name.
            expires_s: drop it, told to the subscriber, when it is not read in time.
        """
        reached = await self._services.topics.publish(
            topic,
            body,
            sender=context.pid,
            ttl_s=expires_s,
            timeout_s=timeout_s,
            audience=audience(context.principal.tenant, is_shared=shared),
        )
        return {"topic": topic, "reached": reached}

    @syscall("mq.subscribe", cost="io", timeout_s=DAY_S)
    async def subscribe(
        self,
        context: Context,
        topic: str,
        overflow: Literal["block", "drop-oldest"] = "block",
        bound: Annotated[int | None, Field(ge=1)] = None,
        limit: Annotated[int | None, Field(ge=1, description="end after so many")] = None,
        shared: SharedTopic = False,
    ) -> AsyncIterator[Any]:
        """Stream what the caller's tenant publishes under a topic until the call is cancelled.

        Args:
            topic: a name or a pattern like `jobs.*`.
            overflow: block the publisher when the buffer is full, or drop the oldest and tell.
            bound: messages that may wait for this subscriber.
        """
        topics = self._services.topics
        subscription = topics.subscribe(
            topic,
            pid=context.pid,
            bound=bound,
            overflow=overflow,
            audience=audience(context.principal.tenant, is_shared=shared),
        )
        taken = 0
        try:
            async for delivery in subscription:
                yield asdict(delivery)
                taken += 1
                if taken == limit:
                    return
        finally:
            topics.unsubscribe(subscription.subscription_id)

    @syscall("mq.put", cost="io")
    async def put(
        self,
        context: Context,
        queue: Annotated[str, Field(min_length=1)],
        payload: Body,
        priority: Priority = 0,
        delay_s: Annotated[float, Field(ge=0)] = 0.0,
        idempotency_key: str = "",
        max_attempts: Annotated[int, Field(ge=1)] = 5,
        expires_s: Seconds = None,
        shared: Shared = False,
    ) -> dict[str, Any]:
        """Put a durable job into a queue of the caller's tenant; it survives the kernel's death.

        Other tenants' queues of the same name are others. What is put into a shared queue can be
        claimed by every tenant.

        Args:
            queue: a name; the queue is made when it is not there.
            payload: what the worker gets.
            delay_s: seconds before it may be claimed.
            idempotency_key: the tenant's second put of a key gives the job that is there.
            max_attempts: claims before it becomes a dead letter.
            expires_s: seconds after which it becomes a dead letter.
        """
        tenant = context.principal.tenant
        job_id = await self._services.broker.put(
            QueueName(queue, tenant, shared).in_broker,
            msgspec.json.encode(payload),
            priority=priority,
            delay_s=delay_s,
            idempotency_key=idempotency_key,
            tenant=tenant,
            max_attempts=max_attempts,
            expires_s=expires_s,
        )
        return {"job_id": job_id, "queue": queue}

    @syscall("mq.claim", cost="io", timeout_s=DAY_S)
    async def claim(
        self,
        context: Context,
        queues: Annotated[list[str], Field(min_length=1)],
        visibility_s: Annotated[float, Field(gt=0)] = 60.0,
        limit: Annotated[int, Field(ge=1, le=1_000)] = 1,
        wait_s: Annotated[float, Field(ge=0)] = 0.0,
        shared: Shared = False,
    ) -> list[dict[str, Any]]:
        """Claim jobs of the caller's tenant, the most urgent first; acknowledge each in time.

        Args:
            queues: where to look.
            visibility_s: seconds until an unacknowledged job is given to another.
            limit: most jobs to claim.
            wait_s: seconds to wait when there is none.
        """
        tenant = context.principal.tenant
        jobs = await self._services.broker.claim(
            [QueueName(queue, tenant, shared).in_broker for queue in queues],
            _worker(context),
            visibility_s=visibility_s,
            limit=limit,
            wait_s=wait_s,
        )
        return [_described(job) for job in jobs]

    @syscall("mq.acknowledge", cost="io")
    async def acknowledge(self, context: Context, job: dict[str, Any]) -> dict[str, Any]:
        """Say that a claimed job is done; `held` is false when the claim was lost before.

        A claim belongs to the principal who made it: anybody else's `held` is false.

        Args:
            job: the job as `mq.claim` gave it.
        """
        held = await self._services.broker.acknowledge(_job(job, context))
        return {"job_id": job["job_id"], "held": held}

    @syscall("mq.queues", cost="io")
    async def queues(self, context: Context) -> list[dict[str, Any]]:
        """List the queues, mailboxes and topics of the tenant and shared ones with their depths.

        Durable queues are called `jobs:NAME`, topics `topic:PATTERN#NUMBER`, shared ones
        `jobs:*/NAME`; who may administer processes sees everybody's (`jobs:TENANT/NAME`).
        """
        by = context.principal
        named = (*self._services.topics.rows(), *await self._services.broker.rows())
        mailboxes = self._services.mailboxes.rows(lambda pid: self._is_near(by, pid))
        rows = (*mailboxes, *_seen(named, by))
        return [asdict(row) for row in rows]

    @syscall("mq.fail", cost="io")
    async def fail(
        self,
        context: Context,
        job: dict[str, Any],
        error: str,
        retry: bool = True,
        delay_s: Seconds = None,
    ) -> dict[str, Any]:
        """Say that a claimed job failed: it is tried again after a back-off, or buried.

        Args:
            job: the job as `mq.claim` gave it.
            error: why it failed.
            retry: whether another try makes sense.
            delay_s: seconds until the next try; grows with each attempt when not given.
        """
        claimed = _job(job, context)
        fate = await self._services.broker.fail(claimed, error, retry=retry, delay_s=delay_s)
        return {"job_id": job["job_id"], "fate": fate}

    @syscall("mq.dead", cost="io")
    async def dead(
        self, context: Context, queue: str, limit: int = 100, shared: Shared = False
    ) -> list[dict[str, Any]]:
        """List the dead letters of a queue of the caller's tenant, oldest first.

        Args:
            queue: a queue of durable jobs.
            limit: how many to list.
        """
        name = QueueName(queue, context.principal.tenant, shared)
        letters = await self._services.broker.dead(name.in_broker, limit=limit)
        return [_described(letter) for letter in letters]

    @syscall("mq.requeue", cost="io")
    async def requeue(self, context: Context, job_id: str) -> dict[str, Any]:
        """Give a dead letter of the caller's tenant all its attempts again.

        Args:
            job_id: a dead letter.
        """
        tenant = context.principal.tenant
        requeued = await self._services.broker.requeue(job_id, tenant=tenant)
        return {"job_id": job_id, "requeued": requeued}

    def _open(self, context: Context, to: int | None = None) -> None:
        """Mailboxes are made when first used, for processes that live.

        Raises `UnknownProcess`, and `NotPermitted` for one of another tenant.
        """
        for pid in (context.pid,) if to is None else (context.pid, to):
            self._services.processes.get(pid)
        self._services.mailboxes.open(context.pid)
        if to is None:
            return
        if not self._is_near(context.principal, to):
            raise NotPermitted(
                f"process {to} belongs to another tenant than {context.principal.name}",
                hint=f"use a topic that both share (mq.publish --shared); {ADMIN} may write to all",
                pid=to,
            )
        self._services.mailboxes.open(to)

    def _is_near(self, by: Principal, pid: int) -> bool:
        """Whether a process is of the caller's tenant, or the caller may act on all."""
        return by.may(ADMIN) or self._services.processes.find(pid).principal.tenant == by.tenant


def _seen(rows: tuple[QueueState, ...], by: Principal) -> list[QueueState]:
    """The queues and topics that somebody may know of, by the names that they use."""
    found = []
    for row in rows:
        kind, _, name = row.name.partition(":")
        own = as_seen_by(by.tenant, name)
        if own is not None:
            found.append(replace(row, name=f"{kind}:{own}"))
        elif by.may(ADMIN):
            found.append(row)
    return found


def _described(job: Job | DeadJob) -> dict[str, Any]:
    payload = msgspec.json.decode(job.payload)
    return {**asdict(job), "queue": plain(job.queue), "payload": payload}


def _worker(context: Context) -> str:
    """In whose name a claim is held; it outlives processes and kernels, as the claim does."""
    return f"user:{quoted(context.principal.tenant)}/{context.principal.name}"


def _job(described: dict[str, Any], context: Context) -> Job:
    """A claim as the caller describes it, held by the caller and nobody else."""
    try:
        return msgspec.convert({**described, "payload": b"", "worker": _worker(context)}, Job)
    except msgspec.ValidationError as error:
        raise InvalidArguments(
            f"this is not a claimed job: {error}", hint="give the job as mq.claim gave it"
        ) from error
