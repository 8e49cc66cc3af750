"""Topics: everybody gets everything, or is told how much was missed."""

from __future__ import annotations

import asyncio

import pytest

from lingos_kernel.errors import CallTimeout, Cancelled, InvalidArguments, QueueFull, UnknownName
from lingos_kernel.queue.topics import Topics


async def test_every_subscriber_gets_every_message() -> None:
    """In order, from its subscription on; patterns take in several topics."""
    topics = Topics()
    assert await topics.publish("jobs.done", 0) == 0
    exact = topics.subscribe("jobs.done")
    pattern = topics.subscribe("jobs.*")
    assert await topics.publish("jobs.done", 1, sender=7) == 2
    assert await topics.publish("jobs.failed", 2) == 1
    delivery = await exact.take()
    assert (delivery.topic, delivery.body, delivery.sender) == ("jobs.done", 1, 7)
    assert [(await pattern.take()).body for _ in range(2)] == [1, 2]
    with pytest.raises(CallTimeout):
        await exact.take(timeout_s=0)


async def test_a_blocking_subscriber_makes_the_publisher_wait() -> None:
    """Nothing is dropped."""
    topics = Topics()
    slow = topics.subscribe("t", bound=1)
    await topics.publish("t", 1)
    publishing = asyncio.create_task(topics.publish("t", 2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not publishing.done()
    assert [(await slow.take()).body for _ in range(2)] == [1, 2]
    assert await publishing == 1


async def test_a_publisher_does_not_wait_for_ever() -> None:
    """Those with room have the message; the slow ones are named, and told with their next one."""
    topics = Topics()
    slow = topics.subscribe("t", bound=1)
    quick = topics.subscribe("t")
    await topics.publish("t", 1)
    with pytest.raises(QueueFull, match=r"did not reach /t#1; it reached 1 others") as caught:
        await topics.publish("t", 2, timeout_s=0)
    assert caught.value.details["slow"] == [slow.subscription_id]
    assert [(await quick.take()).body for _ in range(2)] == [1, 2]
    await slow.take()
    await topics.publish("t", 3)
    delivery = await slow.take()
    assert (delivery.body, delivery.missed) == (3, 1)


async def test_a_dropping_subscriber_is_told_how_many_it_missed() -> None:
    """The oldest go first; the next delivery carries the number."""
    topics = Topics()
    lossy = topics.subscribe("t", bound=2, overflow="drop-oldest")
    for n in range(5):
        assert await topics.publish("t", n) == 1
    first, second = await lossy.take(), await lossy.take()
    assert (first.body, first.missed) == (3, 3)
    assert (second.body, second.missed) == (4, 0)
    assert lossy.missed_total == 3


async def test_expired_messages_count_as_missed() -> None:
    """A message that nobody read in time is told too."""
    now_s = 0.0
    topics = Topics(clock=lambda: now_s)
    subscription = topics.subscribe("t")
    await topics.publish("t", "old", ttl_s=1)
    now_s = 2.0
    await topics.publish("t", "new")
    delivery = await subscription.take()
    assert (delivery.body, delivery.missed) == ("new", 1)


async def test_a_subscription_is_iterated_until_it_ends() -> None:
    """`async for` gets the deliveries and stops when unsubscribed."""
    topics = Topics()
    subscription = topics.subscribe("t", pid=4)

    async def read() -> list[int]:
        return [delivery.body async for delivery in subscription]

    reading = asyncio.create_task(read())
    for n in range(3):
        await topics.publish("t", n)
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    topics.close_process(4)
    assert await reading == [0, 1, 2]
    assert topics.rows() == ()


async def test_unsubscribing_frees_the_publisher() -> None:
    """A publisher that waits for a subscriber that ends goes on; it did not reach it."""
    topics = Topics()
    slow = topics.subscribe("t", bound=1)
    await topics.publish("t", 1)
    publishing = asyncio.create_task(topics.publish("t", 2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert topics.unsubscribe(slow.subscription_id) == 1
    assert await publishing == 0
    with pytest.raises(UnknownName):
        topics.unsubscribe(slow.subscription_id)
    with pytest.raises(Cancelled):
        await slow.take()


async def test_a_cancelled_publish_leaves_nothing_waiting() -> None:
    """No put of a cancelled publisher is left behind."""
    topics = Topics()
    slow = topics.subscribe("t", bound=1)
    await topics.publish("t", 1)
    publishing = asyncio.create_task(topics.publish("t", 2))
    for _ in range(5):
        await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert (await slow.take()).body == 1
    with pytest.raises(CallTimeout):
        await slow.take(timeout_s=0)


@pytest.mark.parametrize(("pattern", "overflow"), [("", "block"), ("t", "drop-newest")])
def test_wrong_subscriptions_are_refused(pattern: str, overflow: str) -> None:
    """A topic needs a name, and there are two policies."""
    with pytest.raises(InvalidArguments, match="block or drop-oldest"):
        Topics().subscribe(pattern, overflow=overflow)  # type: ignore[arg-type]


async def test_rows_show_each_buffer() -> None:
    """Depth and bound of every subscriber."""
    topics = Topics(bound=9)
    topics.subscribe("t")
    await topics.publish("t", 1)
    (row,) = topics.rows()
    assert (row.name, row.depth, row.bound) == ("topic:/t#1", 1, 9)
