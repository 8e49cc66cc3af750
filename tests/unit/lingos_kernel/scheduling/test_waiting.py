"""The queue of waiting work."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.accounts import AttainedService, Fair
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.scheduling.policies import Fifo, Priority
from lingos_kernel.scheduling.waiting import WaitingQueue

works = st.lists(
    st.tuples(
        st.integers(-2, 2),
        st.floats(0, 1000),
        st.sampled_from(["red", "green", "blue"]),
        st.sampled_from(["", "agent", "chat"]),
        st.integers(1, 50),
    ),
    min_size=1,
    max_size=30,
)
changes = st.lists(
    st.tuples(st.sampled_from(["toggle", "serve", "renice"]), st.integers(0, 29)), max_size=60
)


@given(st.sampled_from(sorted(POLICIES)), works, changes)
def test_the_next_one_has_the_least_rank_whatever_happens(
    item: Any, name: str, work: list[Any], changes: list[tuple[str, int]]
) -> None:
    """After any coming, going, serving and renicing, the head ranks first and all are there."""
    policy = make_policy(name)
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    items = [
        item(str(i), priority, at_s, i, tenant=tenant, program=program, remaining=remaining)
        for i, (priority, at_s, tenant, program, remaining) in enumerate(work)
    ]
    for each in items:
        policy.on_joined(each)
        queue.add(each)
    for change, number in changes:
        each = items[number % len(items)]
        if change == "toggle" and each in queue:
            queue.remove(each)
        elif change == "toggle":
            queue.add(each)
        elif change == "serve" and each not in queue:
            policy.on_served(each, 7)
        elif change == "renice" and each in queue:
            queue.remove(each)
            each.priority = -each.priority
            queue.add(each)
        waiting = [each for each in items if each in queue]
        order = list(queue)
        assert len(queue) == len(waiting)
        assert set(order) == set(waiting)
        if waiting:
            assert order[0] is min(waiting, key=lambda w: (policy.rank(w), w.key))


@given(works)
def test_a_static_policy_gives_its_own_order(item: Any, work: list[Any]) -> None:
    """Iteration sorts by rank."""
    policy = Priority()
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    items = [item(str(i), each[0], each[1], i) for i, each in enumerate(work)]
    for each in items:
        queue.add(each)
    assert list(queue) == sorted(items, key=policy.rank)


def test_lanes_take_turns_in_the_queue_s_order(item: Any) -> None:
    """The order is what it would be if each were served its prompt before the next one."""
    policy = Fair()
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    flood = [item(f"a{i}", order=i, tenant="a", remaining=100) for i in range(4)]
    other = [item(f"b{i}", order=9 + i, tenant="b", remaining=200) for i in range(2)]
    for each in (*flood, *other):
        policy.on_joined(each)
        queue.add(each)
    assert [each.key for each in queue] == ["a0", "b0", "a1", "a2", "b1", "a3"]


@given(works, st.sampled_from(sorted(POLICIES)), st.sampled_from(sorted(POLICIES)))
def test_changing_the_policy_loses_nobody(item: Any, work: list[Any], one: str, two: str) -> None:
    """The same work waits, in the new policy's order."""
    before, after = make_policy(one), make_policy(two)
    queue: WaitingQueue[Any] = WaitingQueue(before)
    fresh: WaitingQueue[Any] = WaitingQueue(after)
    items = [
        item(str(i), each[0], each[1], i, tenant=each[2], program=each[3], remaining=each[4])
        for i, each in enumerate(work)
    ]
    for each in items:
        before.on_joined(each)
        queue.add(each)
    for each in items:
        after.on_joined(each)
        fresh.add(each)
    queue.set_policy(after)
    assert list(queue) == list(fresh)


def test_the_queue_forgets_places_that_no_longer_count(item: Any) -> None:
    """A lane whose head changes a thousand times leaves no trace of it."""
    policy = AttainedService()
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    for number in range(1000):
        each = item(str(number), order=-number, program="agent")
        policy.on_joined(each)
        queue.add(each)
    assert len(queue._heap) < 100
    assert next(iter(queue)).key == "999"


def test_nobody_waits_twice(item: Any) -> None:
    """Entering work again is a fault of the caller."""
    queue: WaitingQueue[Any] = WaitingQueue(Fifo())
    queue.add(item("a"))
    with pytest.raises(AssertionError, match="a waits already"):
        queue.add(item("a"))
