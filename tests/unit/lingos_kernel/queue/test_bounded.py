"""The bounded queue: order, bounds, waiting, expiry, and nothing ever lost."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lingos_kernel.errors import CallTimeout, Cancelled, InvalidArguments, QueueFull
from lingos_kernel.queue.bounded import BoundedQueue, Message

LIMIT_S = 20.0


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def bodies(queue: BoundedQueue[Any]) -> list[Any]:
    """Take everything."""
    taken = []
    while (message := queue.take_nowait()) is not None:
        taken.append(message.body)
    return taken


def test_order_is_priority_then_arrival() -> None:
    """Lower numbers first, equals as they came."""
    queue: BoundedQueue[str] = BoundedQueue("q")
    for body, priority in [("c", 1), ("a", -20), ("d", 1), ("b", 0), ("e", 19)]:
        queue.put_nowait(body, priority=priority)
    assert bodies(queue) == ["a", "b", "c", "d", "e"]


def test_a_full_queue_says_when_to_try_again() -> None:
    """The estimate follows the measured rate of takes."""
    clock = FakeClock()
    queue: BoundedQueue[int] = BoundedQueue("q", 2, clock=clock)
    queue.put_nowait(1)
    queue.put_nowait(2)
    with pytest.raises(QueueFull, match="'q' is full") as caught:
        queue.put_nowait(3)
    assert caught.value.retry_after_s == 1.0, "a guess, nothing was taken yet"
    for _ in range(4):
        clock.now_s += 0.5
        queue.take_nowait()
        queue.put_nowait(0)
    clock.now_s += 0.5
    with pytest.raises(QueueFull) as caught:
        queue.put_nowait(3)
    assert caught.value.retry_after_s == pytest.approx(0.5)


def test_a_tenant_has_its_own_cap() -> None:
    """One tenant at its cap is refused while another has room."""
    queue: BoundedQueue[str] = BoundedQueue("q", 10, tenant_bound=1)
    queue.put_nowait("a", tenant="x")
    with pytest.raises(QueueFull, match="tenant 'x' has its 1 messages"):
        queue.put_nowait("b", tenant="x")
    queue.put_nowait("c", tenant="y")
    assert bodies(queue) == ["a", "c"]


def test_bounds_must_make_sense() -> None:
    """A bound below 1 is refused."""
    with pytest.raises(InvalidArguments):
        BoundedQueue("q", 0)
    with pytest.raises(InvalidArguments):
        BoundedQueue("q", 1, tenant_bound=0)


async def test_a_put_waits_for_room() -> None:
    """It goes on when something is taken, the most urgent waiting put first."""
    queue: BoundedQueue[str] = BoundedQueue("q", 1)
    queue.put_nowait("first")
    later = asyncio.create_task(queue.put_async("later", priority=5))
    await asyncio.sleep(0)
    urgent = asyncio.create_task(queue.put_async("urgent", priority=-5))
    await asyncio.sleep(0)
    assert not later.done()
    assert [(await queue.take_async()).body for _ in range(3)] == ["first", "urgent", "later"]
    await asyncio.gather(later, urgent)


async def test_a_waiting_put_holds_up_no_other_tenant() -> None:
    """The put of a tenant at its cap waits on; that of another passes it."""
    queue: BoundedQueue[str] = BoundedQueue("q", 2, tenant_bound=1)
    queue.put_nowait("x1", tenant="x")
    queue.put_nowait("y1", tenant="y")
    capped = asyncio.create_task(queue.put_async("x2", tenant="x"))
    await asyncio.sleep(0)
    other = asyncio.create_task(queue.put_async("z1", tenant="z", priority=1))
    await asyncio.sleep(0)
    assert (await queue.take_async()).body == "x1"
    await capped
    assert (await queue.take_async()).body == "y1"
    await other
    assert bodies(queue) == ["x2", "z1"]


def test_time_limits_from_a_thread() -> None:
    """A put that found no room in time is QueueFull, a take that got nothing CallTimeout."""
    queue: BoundedQueue[int] = BoundedQueue("q", 1)
    with pytest.raises(CallTimeout, match="nothing came into queue 'q' within 0 s"):
        queue.take(timeout_s=0)
    queue.put(1, timeout_s=0)
    with pytest.raises(QueueFull):
        queue.put(2, timeout_s=0.001)
    assert bodies(queue) == [1]


async def test_time_limits_when_awaiting() -> None:
    """The same from the event loop."""
    queue: BoundedQueue[int] = BoundedQueue("q", 1)
    with pytest.raises(CallTimeout):
        await queue.take_async(timeout_s=0.001)
    await queue.put_async(1)
    with pytest.raises(QueueFull):
        await queue.put_async(2, timeout_s=0.001)
    assert bodies(queue) == [1]
    assert queue.row().consumers == 0


async def test_a_cancelled_take_gives_back_what_it_got() -> None:
    """Cancelled between the put and its waking: the message goes to the next, or stays."""
    queue: BoundedQueue[str] = BoundedQueue("q")
    gone = asyncio.create_task(queue.take_async())
    await asyncio.sleep(0)
    queue.put_nowait("precious")
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert queue.row().taken_total == 0
    assert (await queue.take_async()).body == "precious"

    gone, heir = (asyncio.create_task(queue.take_async()) for _ in range(2))
    await asyncio.sleep(0)
    queue.put_nowait("inherited")
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (await heir).body == "inherited"


async def test_a_cancelled_put_puts_nothing() -> None:
    """While it waits for room."""
    queue: BoundedQueue[int] = BoundedQueue("q", 1)
    queue.put_nowait(1)
    waiting = asyncio.create_task(queue.put_async(2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert bodies(queue) == [1]


def test_expired_messages_are_counted_and_told() -> None:
    """They leave the queue, make room, and reach on_expired."""
    clock = FakeClock()
    expired: list[Message[str]] = []
    queue: BoundedQueue[str] = BoundedQueue("q", 2, clock=clock, on_expired=expired.append)
    queue.put_nowait("short", ttl_s=1)
    queue.put_nowait("long", ttl_s=100)
    clock.now_s += 1
    queue.put_nowait("new")
    assert [message.body for message in expired] == ["short"]
    assert queue.expired_total == 1
    assert bodies(queue) == ["long", "new"]


def test_an_expiry_lets_a_waiting_put_in() -> None:
    """In real time: nobody takes, but a message expires and makes room."""
    queue: BoundedQueue[str] = BoundedQueue("q", 1)
    queue.put_nowait("short", ttl_s=0.01)
    queue.put("patient", timeout_s=LIMIT_S)
    assert bodies(queue) == ["patient"]


def test_many_expired_messages_leave_no_litter() -> None:
    """The books of a queue from which nobody takes stay small."""
    clock = FakeClock()
    queue: BoundedQueue[int] = BoundedQueue("q", 10, clock=clock)
    for n in range(2000):
        queue.put_nowait(n, ttl_s=0.5)
        clock.now_s += 1
    assert len(queue._order) < 100
    assert queue.row().depth == 0


async def test_close_ends_waits_and_hands_back_the_rest() -> None:
    """Takers and putters end in Cancelled; unread messages come back in order."""
    queue: BoundedQueue[str] = BoundedQueue("q", 1)
    taker = asyncio.create_task(queue.take_async())
    await asyncio.sleep(0)
    assert queue.close() == []
    with pytest.raises(Cancelled, match="'q' was closed"):
        await taker
    for refused in (lambda: queue.put_nowait("x"), queue.take_nowait, lambda: queue.put("x")):
        with pytest.raises(Cancelled, match="closed"):
            refused()

    queue = BoundedQueue("q", 2)
    queue.put_nowait("b", priority=1)
    queue.put_nowait("a")
    putter = asyncio.create_task(queue.put_async("c"))
    await asyncio.sleep(0)
    assert [message.body for message in queue.close()] == ["a", "b"]
    with pytest.raises(Cancelled):
        await putter


def test_the_row_shows_depth_waiters_totals_and_age() -> None:
    """As the snapshot wants it."""
    clock = FakeClock()
    queue: BoundedQueue[int] = BoundedQueue("q", 5, clock=clock)
    queue.put_nowait(1)
    clock.now_s += 3
    queue.put_nowait(2, priority=-1)
    row = queue.row()
    assert (row.name, row.depth, row.bound, row.put_total, row.taken_total) == ("q", 2, 5, 2, 0)
    assert row.oldest_s == 3.0
    bodies(queue)
    row = queue.row()
    assert (row.depth, row.taken_total, row.oldest_s) == (0, 2, 0.0)


async def test_threads_and_coroutines_share_a_queue() -> None:
    """Every message of many producers reaches exactly one of many consumers."""
    queue: BoundedQueue[tuple[str, int]] = BoundedQueue("q", 4)
    taken: list[tuple[str, int]] = []

    def produce(name: str) -> None:
        for n in range(100):
            queue.put((name, n), timeout_s=LIMIT_S)

    async def produce_async(name: str) -> None:
        for n in range(100):
            await queue.put_async((name, n), timeout_s=LIMIT_S)

    def consume() -> None:
        for _ in range(100):
            taken.append(queue.take(LIMIT_S).body)

    async def consume_async() -> None:
        for _ in range(100):
            taken.append((await queue.take_async(LIMIT_S)).body)

    threads: list[Callable[[], None]] = [lambda: produce("a"), lambda: produce("b"), consume]
    await asyncio.gather(
        *(asyncio.to_thread(work) for work in threads),
        produce_async("c"),
        consume_async(),
        consume_async(),
    )
    assert Counter(taken) == Counter((name, n) for name in "abc" for n in range(100))
    for name in "abc":
        assert {n for who, n in taken if who == name} == set(range(100))
    assert len(queue) == 0


def test_a_put_wakes_a_thread_that_waits() -> None:
    """The message goes straight to the waiting taker."""
    queue: BoundedQueue[int] = BoundedQueue("q")
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(queue.take(LIMIT_S).body))
    thread.start()
    while not queue.row().consumers:
        threading.Event().wait(0.001)
    queue.put_nowait(7)
    thread.join(LIMIT_S)
    assert got == [7]


class Queueing(RuleBasedStateMachine):
    """Random puts, takes, waits and cancels; a plain list says what should be in the queue."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.expired: list[int] = []
        self.queue: BoundedQueue[int] = BoundedQueue(
            "q",
            3,
            tenant_bound=2,
            clock=self.clock,
            on_expired=lambda message: self.expired.append(message.body),
        )
        self.put: set[int] = set()
        self.taken: list[int] = []
        self.putters: dict[int, asyncio.Task[None]] = {}
        self.takers: list[asyncio.Task[Message[int]]] = []
        self.number = 0

    def turn(self) -> None:
        """Let tasks run, and collect what ended."""
        for _ in range(6):
            self.loop.run_until_complete(asyncio.sleep(0))
        for number, task in list(self.putters.items()):
            if task.done():
                del self.putters[number]
                if not task.cancelled():
                    task.result()
                    self.put.add(number)
        for taker in [taker for taker in self.takers if taker.done()]:
            self.takers.remove(taker)
            if not taker.cancelled():
                self.taken.append(taker.result().body)

    def spawn(self, coroutine: Any) -> Any:
        """A task that has begun."""
        task = self.loop.create_task(coroutine)
        self.loop.run_until_complete(asyncio.sleep(0))
        return task

    @rule(
        priority=st.integers(-2, 2),
        tenant=st.sampled_from("xyz"),
        ttl_s=st.sampled_from([None, 1.0, 5.0]),
        waits=st.booleans(),
    )
    def put_one(self, priority: int, tenant: str, ttl_s: float | None, waits: bool) -> None:
        """A put is taken in, waits, or is refused."""
        self.number += 1
        options: dict[str, Any] = {"priority": priority, "tenant": tenant, "ttl_s": ttl_s}
        if waits:
            task = self.spawn(self.queue.put_async(self.number, **options))
            self.putters[self.number] = task
        else:
            try:
                self.queue.put_nowait(self.number, **options)
            except QueueFull:
                assert len(self.queue) >= 2, "the bound, or the tenant's cap"
            else:
                self.put.add(self.number)
        self.turn()

    @rule()
    def take_now(self) -> None:
        """A take gets the most urgent message."""
        message = self.queue.take_nowait()
        if message is not None:
            self.taken.append(message.body)
        self.turn()

    @rule()
    def take_waiting(self) -> None:
        """A take waits for a message."""
        self.takers.append(self.spawn(self.queue.take_async()))
        self.turn()

    @rule(data=st.data(), settle=st.booleans())
    def cancel(self, data: Any, settle: bool) -> None:
        """A waiter goes away, perhaps just as its wait ends."""
        waiting = [*self.putters.values(), *self.takers]
        if not waiting:
            return
        if settle and self.takers:
            self.number += 1
            self.queue.put_nowait(self.number)
            self.put.add(self.number)
        data.draw(st.sampled_from(waiting)).cancel()
        self.turn()

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.now_s += seconds
        self.queue.row()
        self.turn()

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        """What was put is in the queue, was taken once, or expired and was told."""
        left = [message.body for message in self.queue._messages.values()]
        ended = self.taken + self.expired + left
        assert len(ended) == len(set(ended))
        assert set(ended) - set(self.putters) == self.put
        assert len(left) <= 4, "three, and one that a cancelled take gave back"
        if self.takers:
            assert not left, "nobody waits while there is something"

    def teardown(self) -> None:
        """Cancel what still waits."""
        for task in [*self.putters.values(), *self.takers]:
            task.cancel()
        self.turn()
        self.loop.close()


TestQueueing = Queueing.TestCase
TestQueueing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
