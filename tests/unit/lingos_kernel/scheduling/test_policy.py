"""Policies and the waiting queue."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import ConfigError
from lingos_kernel.scheduling.policy import Fifo, Priority, make_policy
from lingos_kernel.scheduling.waiting import WaitingQueue


@dataclass(frozen=True)
class Item:
    """A frozen view of a piece of work."""

    key: str
    priority: int = 0
    arrival_s: float = 0.0
    order: int = 0
    deadline_s: float | None = None
    program: str = ""
    tenant: str = ""
    served_tokens: int = 0


def test_fifo_serves_in_order_of_arrival() -> None:
    """Priority counts for nothing, and nobody is preempted for another."""
    early, late = Item("early", 19, 1.0, 1), Item("late", -20, 2.0, 2)
    assert Fifo().rank(early) < Fifo().rank(late)
    assert not Fifo().is_preempted_by(early, late)
    assert Fifo().victim([early, late]) is late


def test_priority_serves_the_urgent_first_and_equals_in_turn() -> None:
    """Lower nice values go first; of equals, who came first."""
    policy = Priority()
    urgent, first, second = Item("u", -5, 3.0, 3), Item("a", 0, 1.0, 1), Item("b", 0, 1.0, 2)
    assert sorted([second, urgent, first], key=policy.rank) == [urgent, first, second]
    assert policy.victim([urgent, first, second]) is second


def test_waiting_makes_work_urgent() -> None:
    """After aging_s for every level between them, the patient one goes first."""
    policy = Priority(aging_s=10)
    patient = Item("patient", 5, 0.0, 1)
    assert policy.rank(Item("new", 0, 49.0, 2)) < policy.rank(patient)
    assert policy.rank(Item("new", 0, 51.0, 2)) > policy.rank(patient)


def test_only_strictly_more_urgent_work_preempts() -> None:
    """Equal priority never preempts, and one who has earned its place by waiting keeps it."""
    policy = Priority(aging_s=10)
    running = Item("running", 5, 0.0, 1)
    assert policy.is_preempted_by(running, Item("urgent", 0, 1.0, 2))
    assert not policy.is_preempted_by(running, Item("equal", 5, 1.0, 2))
    assert not policy.is_preempted_by(running, Item("too late", 0, 60.0, 2))


def test_make_policy_names_the_choices() -> None:
    """An unknown policy is an error that lists the known ones; plugins add theirs."""
    assert isinstance(make_policy("fifo"), Fifo)
    assert isinstance(make_policy(f"{Fifo.__module__}:{Fifo.__name__}"), Fifo)
    with pytest.raises(ConfigError, match="fifo, priority"):
        make_policy("lottery")


@given(st.lists(st.tuples(st.integers(-20, 19), st.floats(0, 1000)), max_size=40), st.data())
def test_the_queue_is_always_in_order(work: list[tuple[int, float]], data: st.DataObject) -> None:
    """After any adding and removing, iteration gives the policy's order."""
    policy = Priority()
    queue: WaitingQueue[Item] = WaitingQueue(policy)
    items = [Item(str(i), priority, at_s, i) for i, (priority, at_s) in enumerate(work)]
    for item in items:
        queue.add(item)
    gone = data.draw(st.lists(st.sampled_from(items), unique=True)) if items else []
    for item in gone:
        queue.remove(item)
    left = sorted((item for item in items if item not in gone), key=policy.rank)
    assert list(queue) == left
    assert len(queue) == len(left)
    queue.rerank()
    assert list(queue) == left
