"""The queue of waiting work."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.scheduling.accounts import AttainedService, Fair
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.scheduling.policies import Fifo, Priority, RoundRobin
from lingos_kernel.scheduling.policy import BasePolicy, Policy
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
QUICK: dict[str, Callable[[], Policy]] = {
    **POLICIES,
    "attained-service": lambda: AttainedService(level_tokens=10, aging_share=0.5),
    "fair": lambda: Fair(page_cost=1.0),
    "priority": lambda: Priority(aging_s=50.0),
    "round-robin": lambda: RoundRobin(quantum_tokens=1),
}
"""Policies whose ranks change a lot within a short test."""


@given(st.sampled_from(sorted(QUICK)), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_the_next_one_has_the_least_rank_whatever_happens(item: Any, name: str, seed: int) -> None:
    """After any coming, going, serving and renicing, the head ranks first and all are there."""
    numbers = random.Random(seed)  # a hundred changes hit more than lists that shrink to a few
    policy = QUICK[name]()
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    items = [_item(item, numbers, number) for number in range(6)]
    for each in items:
        policy.on_joined(each)
    for _ in range(100):
        _change(queue, policy, numbers.choice(items), numbers)
        waiting = [each for each in items if each in queue]
        for lane in queue._lanes.values():
            assert lane == sorted(lane, key=queue._place)
        order = list(queue)
        assert len(queue) == len(waiting) == len(order)
        assert set(order) == set(waiting)
        if waiting:
            assert order[0] is min(waiting, key=lambda w: (policy.rank(w), w.key))


def _item(item: Any, numbers: random.Random, number: int) -> Any:
    return item(
        str(number),
        numbers.randint(-1, 1),
        numbers.uniform(0, 1000),
        number,
        tenant=numbers.choice("ab"),
        program=numbers.choice(["", "p", "q"]),
        remaining=numbers.randint(1, 50),
    )


def _change(queue: WaitingQueue[Any], policy: Policy, work: Any, numbers: random.Random) -> None:
    """Something that happens in an engine."""
    is_waiting = work in queue
    match numbers.choice(["enter or leave", "serve", "pause", "renice"]):
        case "enter or leave" if is_waiting:
            queue.remove(work)
        case "enter or leave":
            queue.add(work)
        case "serve" if not is_waiting:
            policy.on_served(work, numbers.choice([1, 7]))
        case "pause" if not is_waiting:
            policy.on_left(work)
            policy.on_joined(work)
        case "renice":
            if is_waiting:
                queue.remove(work)
            work.priority = numbers.randint(-1, 1)
            if is_waiting:
                queue.add(work)


def test_a_policy_that_breaks_its_promise_loses_nobody(item: Any) -> None:
    """Ranks that turn round while work waits make a wrong order, but nothing worse."""

    class Fickle(BasePolicy):
        name = "fickle"
        sign = 1

        def rank(self, work: Any, ahead_tokens: int = 0) -> tuple[float, ...]:
            return (self.sign * work.order,)

    policy = Fickle()
    queue: WaitingQueue[Any] = WaitingQueue(policy)
    items = [item(str(number), order=number) for number in range(9)]
    for each in items:
        queue.add(each)
    policy.sign = -1
    assert set(queue) == set(items)
    for each in items:
        queue.remove(each)
    assert not len(queue)


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


def test_what_a_lane_was_promised_counts(item: Any) -> None:
    """While a tenant's prompts are computed it does not get the next places, too."""
    policy = Fair()
    queue = WaitingQueue(policy)
    work = [item(f"{tenant}{n}", tenant=tenant, remaining=100) for n in range(3) for tenant in "ab"]
    prefilling = [item(f"p{n}", tenant="a", remaining=150) for n in range(2)]
    for each in (*work, *prefilling):
        policy.on_joined(each)
    for each in work:
        queue.add(each)
    assert [each.tenant for each in queue] == list("ababab")
    assert [each.tenant for each in queue.after(prefilling)] == list("bbbaaa")
    assert [each.tenant for each in queue] == list("ababab")
