"""A bounded priority queue of messages, for threads and for the event loop at once.

Order: lower priority number first (-20 to 19), then arrival. A put either waits for room or fails
at once with `QueueFull`; nothing is dropped silently: a message leaves by being taken, or expires,
which is counted and told to `on_expired`.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from lingos_kernel.errors import CallTimeout, Cancelled, InvalidArguments, QueueFull
from lingos_kernel.queue.rows import QueueState
from lingos_kernel.queue.waiting import wait, wait_async

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """A body in a queue. Times are the queue's clock, in seconds."""

    body: T
    priority: int
    tenant: str
    arrival: int
    """Counts up; equals in priority are taken in this order."""
    put_s: float
    expires_s: float | None


class _Putter(Generic[T]):
    """A put that waits for room."""

    __slots__ = ("admitted", "message")

    def __init__(self, message: Message[T]) -> None:
        self.message = message
        self.admitted: Future[None] = Future()


class BoundedQueue(Generic[T]):
    """Holds at most `bound` messages, of each tenant at most `tenant_bound`; thread-safe.

    Waiting puts are admitted by priority, then arrival; one whose tenant is at its cap holds up no
    other tenant. `on_expired` is called, outside the queue's lock, with each expired message; it
    must not raise.
    """

    def __init__(
        self,
        name: str,
        bound: int = 1024,
        *,
        tenant_bound: int | None = None,
        tenant_word: str = "tenant",
        clock: Callable[[], float] = time.monotonic,
        on_expired: Callable[[Message[T]], None] | None = None,
    ) -> None:
        if bound < 1 or (tenant_bound is not None and tenant_bound < 1):
            raise InvalidArguments(f"queue {name!r} needs a bound of at least 1")
        self.name = name
        self.bound = bound
        self.tenant_bound = bound if tenant_bound is None else tenant_bound
        self._tenant_word = tenant_word
        self.expired_total = 0
        self._clock = clock
        self._on_expired = on_expired
        self._lock = threading.Lock()
        self._arrivals = itertools.count()
        self._messages: dict[int, Message[T]] = {}  # by arrival; the heaps may hold left-overs
        self._order: list[tuple[int, int]] = []  # (priority, arrival)
        self._expiry: list[tuple[float, int]] = []  # (expires_s, arrival)
        self._by_tenant: Counter[str] = Counter()
        self._takers: deque[Future[Message[T]]] = deque()
        self._putters: list[tuple[int, int, _Putter[T]]] = []  # (priority, arrival, putter)
        self._taken_at: deque[float] = deque(maxlen=64)
        self._put_total = 0
        self._taken_total = 0
        self._closed = False

    def put_nowait(
        self, body: T, *, priority: int = 0, tenant: str = "", ttl_s: float | None = None
    ) -> None:
        """Put, or raise QueueFull saying when to try again. Raises Cancelled when closed."""
        with _Telling(self):
            if self._try_put(self._message(body, priority, tenant, ttl_s)):
                return
            raise self._full(tenant)

    def put(
        self,
        body: T,
        *,
        priority: int = 0,
        tenant: str = "",
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Put, blocking while there is no room. Raises QueueFull after `timeout_s`, Cancelled."""
        putter = self._begin_put(body, priority, tenant, ttl_s)
        if putter is None:
            return
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while not wait(putter.admitted, self._pause_s(deadline)):
                self._still_waiting(putter, deadline)
        except BaseException:
            self._leave(putter)
            raise
        putter.admitted.result()

    async def put_async(
        self,
        body: T,
        *,
        priority: int = 0,
        tenant: str = "",
        ttl_s: float | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """As `put`, awaiting. A cancelled put has put nothing, or all."""
        putter = self._begin_put(body, priority, tenant, ttl_s)
        if putter is None:
            return
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            while not await wait_async(putter.admitted, self._pause_s(deadline)):
                self._still_waiting(putter, deadline)
        except BaseException:
            self._leave(putter)
            raise
        putter.admitted.result()

    def take_nowait(self) -> Message[T] | None:
        """The next message, None when there is none. Raises Cancelled when closed."""
        with _Telling(self):
            self._check_open()
            return self._pop()

    def take(self, timeout_s: float | None = None) -> Message[T]:
        """The next message, blocking for it. Raises CallTimeout, Cancelled when closed."""
        taker = self._begin_take()
        try:
            if not wait(taker, timeout_s):
                self._end_take(taker, timeout_s)
        except BaseException:
            self._restore(taker)
            raise
        return taker.result()

    async def take_async(self, timeout_s: float | None = None) -> Message[T]:
        """As `take`, awaiting. A cancelled take puts back what it was given."""
        taker = self._begin_take()
        try:
            if not taker.done() and not await wait_async(taker, timeout_s):
                self._end_take(taker, timeout_s)
        except BaseException:
            self._restore(taker)
            raise
        return taker.result()

    def close(self) -> list[Message[T]]:
        """End every wait in Cancelled, refuse more, and hand back what nobody took, in order."""
        with _Telling(self):
            self._closed = True
            rest = [self._messages[arrival] for _, arrival in sorted(self._order)
                    if arrival in self._messages]  # fmt: skip
            self._messages.clear()
            self._by_tenant.clear()
            error = Cancelled(f"queue {self.name!r} was closed")
            for taker in self._takers:
                taker.set_exception(error)
            self._takers.clear()
            for _, _, putter in self._putters:
                putter.admitted.set_exception(error)
            self._putters.clear()
            return rest

    def row(self) -> QueueState:
        """The queue as the snapshot shows it."""
        with _Telling(self):
            oldest = next(iter(self._messages.values()), None)
            return QueueState(
                name=self.name,
                depth=len(self._messages),
                bound=self.bound,
                consumers=len(self._takers),
                put_total=self._put_total,
                taken_total=self._taken_total,
                oldest_s=max(self._clock() - oldest.put_s, 0.0) if oldest else 0.0,
            )

    def __len__(self) -> int:
        return len(self._messages)

    # The rest runs with self._lock held, by way of _Telling, unless it says otherwise.

    def _message(self, body: T, priority: int, tenant: str, ttl_s: float | None) -> Message[T]:
        self._check_open()
        now = self._clock()
        expires_s = None if ttl_s is None else now + ttl_s
        return Message(body, priority, tenant, next(self._arrivals), now, expires_s)

    def _check_open(self) -> None:
        if self._closed:
            raise Cancelled(f"queue {self.name!r} is closed")

    def _try_put(self, message: Message[T]) -> bool:
        """Hand the message to a taker or keep it; False when there is no room."""
        if self._takers:
            self._put_total += 1
            self._hand(message)
        elif self._has_room(message.tenant):
            self._put_total += 1
            self._keep(message)
        else:
            return False
        return True

    def _has_room(self, tenant: str) -> bool:
        return len(self._messages) < self.bound and self._by_tenant[tenant] < self.tenant_bound

    def _keep(self, message: Message[T]) -> None:
        self._messages[message.arrival] = message
        self._by_tenant[message.tenant] += 1
        heapq.heappush(self._order, (message.priority, message.arrival))
        if message.expires_s is not None:
            heapq.heappush(self._expiry, (message.expires_s, message.arrival))

    def _hand(self, message: Message[T]) -> None:
        self._note_taken()
        self._takers.popleft().set_result(message)

    def _note_taken(self) -> None:
        self._taken_total += 1
        self._taken_at.append(self._clock())

    def _pop(self) -> Message[T] | None:
        while self._order:
            _, arrival = heapq.heappop(self._order)
            if arrival in self._messages:
                message = self._remove(arrival)
                self._note_taken()
                self._admit()
                return message
        return None

    def _remove(self, arrival: int) -> Message[T]:
        message = self._messages.pop(arrival)
        self._by_tenant[message.tenant] -= 1
        if not self._by_tenant[message.tenant]:
            del self._by_tenant[message.tenant]
        return message

    def _admit(self) -> None:
        """Let waiting puts in, in order, as far as there is room for their tenants."""
        passed = []
        while self._putters and len(self._messages) < self.bound:
            entry = heapq.heappop(self._putters)
            if self._try_put(entry[2].message):
                entry[2].admitted.set_result(None)
            else:
                passed.append(entry)
        for entry in passed:
            heapq.heappush(self._putters, entry)

    def _expire(self) -> list[Message[T]]:
        """Take out what has expired, and let in what waited."""
        now = self._clock()
        expired = []
        while self._expiry and self._expiry[0][0] <= now:
            _, arrival = heapq.heappop(self._expiry)
            if arrival in self._messages:
                expired.append(self._remove(arrival))
        if expired:
            self.expired_total += len(expired)
            self._drop_leftovers()
            self._admit()
        return expired

    def _drop_leftovers(self) -> None:
        """Rebuild the order when most of its entries are of messages long gone."""
        if len(self._order) > 2 * len(self._messages) + 64:
            self._order = [(m.priority, m.arrival) for m in self._messages.values()]
            heapq.heapify(self._order)

    def _full(self, tenant: str) -> QueueFull:
        retry_after_s = self._retry_after_s()
        if len(self._messages) >= self.bound:
            what = f"queue {self.name!r} is full ({self.bound} messages)"
        else:
            who = f"{self._tenant_word} {tenant!r}"
            what = f"{who} has its {self.tenant_bound} messages in {self.name!r}"
        return QueueFull(what, retry_after_s=retry_after_s, queue=self.name)

    def _retry_after_s(self) -> float:
        """When the puts that wait, and one more, will have room, at the rate of recent takes."""
        if not self._taken_at:
            return 1.0
        each_s = max(self._clock() - self._taken_at[0], 1e-3) / len(self._taken_at)
        return min(max((len(self._putters) + 1) * each_s, 0.01), 60.0)

    # Below, each method takes the lock itself.

    def _begin_put(
        self, body: T, priority: int, tenant: str, ttl_s: float | None
    ) -> _Putter[T] | None:
        """Put at once (None), or take a place among those who wait."""
        with _Telling(self):
            message = self._message(body, priority, tenant, ttl_s)
            if self._try_put(message):
                return None
            putter = _Putter(message)
            heapq.heappush(self._putters, (priority, message.arrival, putter))
            return putter

    def _pause_s(self, deadline: float | None) -> float | None:
        """How long a put may sleep: to its deadline, or until a message may have expired."""
        with self._lock:
            until_s = [] if deadline is None else [deadline - time.monotonic()]
            if self._expiry:
                until_s.append(self._expiry[0][0] - self._clock())
        return max(min(until_s), 0.0) if until_s else None

    def _still_waiting(self, putter: _Putter[T], deadline: float | None) -> None:
        """After a pause: raise QueueFull when the time is over and the put was not admitted."""
        with _Telling(self):
            over = deadline is not None and time.monotonic() >= deadline
            if over and not putter.admitted.done():
                raise self._full(putter.message.tenant)

    def _leave(self, putter: _Putter[T]) -> None:
        with self._lock:
            if not putter.admitted.done():
                self._putters = [entry for entry in self._putters if entry[2] is not putter]
                heapq.heapify(self._putters)

    def _begin_take(self) -> Future[Message[T]]:
        """A future of the next message; settled already when there is one."""
        taker: Future[Message[T]] = Future()
        with _Telling(self):
            self._check_open()
            message = self._pop()
            if message is None:
                self._takers.append(taker)
            else:
                taker.set_result(message)
        return taker

    def _end_take(self, taker: Future[Message[T]], timeout_s: float | None) -> None:
        with self._lock:
            if taker.done():
                return
        raise CallTimeout(f"nothing came into queue {self.name!r} within {timeout_s:g} s")

    def _restore(self, taker: Future[Message[T]]) -> None:
        """The taker is gone: leave, or put back what it got, over the bound if need be.

        A queue closed meanwhile keeps it for a second `close`.
        """
        with self._lock:
            if not taker.done():
                self._takers.remove(taker)
            elif taker.exception() is None:
                message = taker.result()
                self._taken_total -= 1
                if self._takers:
                    self._hand(message)
                else:
                    self._keep(message)


class _Telling(Generic[T]):
    """Holds a queue's lock with expired messages taken out, and tells of those afterwards."""

    __slots__ = ("_expired", "_queue")

    def __init__(self, queue: BoundedQueue[T]) -> None:
        self._queue = queue
        self._expired: list[Message[T]] = []

    def __enter__(self) -> None:
        self._queue._lock.acquire()
        if self._queue._expiry:
            self._expired = self._queue._expire()

    def __exit__(self, *_: object) -> None:
        self._queue._lock.release()
        if self._expired and self._queue._on_expired is not None:
            for message in self._expired:
                self._queue._on_expired(message)
