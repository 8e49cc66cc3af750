"""Topics: what is published reaches every subscriber's own bounded buffer.

A full buffer does what its subscriber chose: `block` makes the publisher wait; `drop-oldest` drops
the oldest message and tells: the next delivery carries the number `missed` before it.
Use from one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from lingos_kernel.errors import Cancelled, InvalidArguments, QueueFull, UnknownName
from lingos_kernel.queue.bounded import BoundedQueue
from lingos_kernel.queue.rows import QueueState

Overflow = Literal["block", "drop-oldest"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One published message as a subscriber gets it; `body` is JSON-able."""

    topic: str
    body: Any
    sender: int
    published_s: float
    missed: int
    """Messages dropped or expired since the delivery before."""


@dataclass(frozen=True, slots=True)
class _Numbered:
    number: int
    topic: str
    body: Any
    sender: int
    published_s: float


class Subscription:
    """A subscriber's buffer; iterate over it, or `take`. Ends when unsubscribed."""

    def __init__(
        self,
        subscription_id: str,
        pattern: str,
        pid: int,
        overflow: Overflow,
        buffer: BoundedQueue[_Numbered],
        audience: str = "",
    ) -> None:
        self.subscription_id = subscription_id
        self.pattern = pattern
        self.audience = audience
        self.pid = pid
        self.overflow = overflow
        self.missed_total = 0
        self._buffer = buffer
        self._published = 0
        self._last = 0

    def hears(self, topic: str, audience: str) -> bool:
        """Whether it is told what is published so."""
        return audience == self.audience and fnmatchcase(topic, self.pattern)

    async def take(self, timeout_s: float | None = None) -> Delivery:
        """The next delivery. Raises CallTimeout, and Cancelled when unsubscribed."""
        numbered = (await self._buffer.take_async(timeout_s)).body
        missed = max(numbered.number - self._last - 1, 0)
        self._last = max(numbered.number, self._last)
        self.missed_total += missed
        return Delivery(
            numbered.topic, numbered.body, numbered.sender, numbered.published_s, missed
        )

    async def __aiter__(self) -> AsyncIterator[Delivery]:
        while True:
            try:
                delivery = await self.take()
            except Cancelled:
                return
            yield delivery

    async def offer(
        self,
        topic: str,
        body: Any,
        *,
        sender: int,
        now: float,
        ttl_s: float | None,
        timeout_s: float | None,
    ) -> None:
        """Put a message into the buffer by the subscriber's policy. Raises QueueFull."""
        self._published += 1
        numbered = _Numbered(self._published, topic, body, sender, now)
        if self.overflow == "block":
            # If this raises, the publisher knows; the gap in the numbers tells the subscriber.
            await self._buffer.put_async(numbered, ttl_s=ttl_s, timeout_s=timeout_s)
            return
        while True:
            try:
                self._buffer.put_nowait(numbered, ttl_s=ttl_s)
            except QueueFull:
                self._buffer.take_nowait()  # the gap in the numbers tells the subscriber
            else:
                return

    def row(self) -> QueueState:
        """The buffer as the snapshot shows it."""
        return self._buffer.row()

    def close(self) -> int:
        """End the subscription; returns how many messages were not read."""
        return len(self._buffer.close())


class Topics:
    """Who subscribes to what; the same name in another audience is another topic."""

    def __init__(self, bound: int = 1024, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`bound`: of a subscriber's buffer, unless it asks for another."""
        self._bound = bound
        self._clock = clock
        self._ids = itertools.count(1)
        self._subscriptions: dict[str, Subscription] = {}

    def subscribe(
        self,
        pattern: str,
        *,
        pid: int = 0,
        bound: int | None = None,
        overflow: Overflow = "block",
        audience: str = "",
    ) -> Subscription:
        """A buffer for what is published from now on under a topic, or topics like `jobs.*`."""
        if not pattern or overflow not in ("block", "drop-oldest"):
            raise InvalidArguments(
                f"cannot subscribe to {pattern!r} with overflow {overflow!r}",
                hint="name a topic; overflow is block or drop-oldest",
            )
        subscription_id = f"{audience}/{pattern}#{next(self._ids)}"
        buffer: BoundedQueue[_Numbered] = BoundedQueue(
            f"topic:{subscription_id}", bound or self._bound, clock=self._clock
        )
        subscription = Subscription(subscription_id, pattern, pid, overflow, buffer, audience)
        self._subscriptions[subscription_id] = subscription
        return subscription

    def subscription(self, subscription_id: str) -> Subscription:
        """The subscription with this id. Raises UnknownName."""
        try:
            return self._subscriptions[subscription_id]
        except KeyError:
            raise UnknownName(f"no subscription {subscription_id!r}") from None

    def unsubscribe(self, subscription_id: str) -> int:
        """End a subscription; returns how many messages were not read. Raises UnknownName."""
        subscription = self.subscription(subscription_id)
        del self._subscriptions[subscription_id]
        return subscription.close()

    def close_process(self, pid: int) -> None:
        """The process is gone: its subscriptions end, and publishers no longer wait for it."""
        for subscription in [s for s in self._subscriptions.values() if s.pid == pid]:
            self.unsubscribe(subscription.subscription_id)

    async def publish(
        self,
        topic: str,
        body: Any,
        *,
        sender: int = 0,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        audience: str = "",
    ) -> int:
        """Deliver to every subscriber of the audience; returns how many it reached.

        Waits for blocking subscribers with full buffers. When some have no room within `timeout_s`
        the others have the message all the same; raises QueueFull naming those that have not.
        """
        subscribers = [s for s in self._subscriptions.values() if s.hears(topic, audience)]
        now = self._clock()
        outcomes = await asyncio.gather(
            *(
                s.offer(topic, body, sender=sender, now=now, ttl_s=ttl_s, timeout_s=timeout_s)
                for s in subscribers
            ),
            return_exceptions=True,
        )
        slow: list[str] = []
        retry_after_s = 0.0
        ended = 0
        for subscriber, outcome in zip(subscribers, outcomes, strict=True):
            if isinstance(outcome, QueueFull):
                slow.append(subscriber.subscription_id)
                retry_after_s = max(retry_after_s, outcome.retry_after_s)
            elif isinstance(outcome, Cancelled):  # unsubscribed while we waited for it
                ended += 1
            elif outcome is not None:
                raise outcome
        reached = len(subscribers) - len(slow) - ended
        if slow:
            raise QueueFull(
                f"{topic!r} did not reach {', '.join(slow)}; it reached {reached} others",
                retry_after_s=retry_after_s,
                slow=slow,
                reached=reached,
            )
        return reached

    def rows(self) -> tuple[QueueState, ...]:
        """Every subscriber's buffer, in order of subscription."""
        return tuple(subscription.row() for subscription in self._subscriptions.values())
