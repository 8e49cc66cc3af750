"""Policies that order by what is known of work, and by turns."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.policies import Deadline, Fifo, Priority, RoundRobin
from lingos_kernel.scheduling.policy import BasePolicy


def test_fifo_serves_in_order_of_arrival_within_a_class(item: Any) -> None:
    """Who came first goes first, but for more urgent classes."""
    policy = Fifo()
    early, late = item("early", 0, 1.0, 1), item("late", 0, 2.0, 2)
    urgent = item("urgent", -1, 3.0, 3)
    assert sorted([late, urgent, early], key=policy.rank) == [urgent, early, late]
    assert policy.victim([early, late, urgent]) is late
    assert policy.may_give_way([early, late], urgent) == [early, late]
    assert policy.may_give_way([late], early) == []


def test_priority_serves_the_urgent_first_and_equals_in_turn(item: Any) -> None:
    """Lower nice values go first; of equals, who came first."""
    policy = Priority()
    urgent, first, second = item("u", -5, 3.0, 3), item("a", 0, 1.0, 1), item("b", 0, 1.0, 2)
    assert sorted([second, urgent, first], key=policy.rank) == [urgent, first, second]
    assert policy.victim([urgent, first, second]) is second


def test_waiting_makes_work_urgent(item: Any) -> None:
    """After aging_s for every level between them, the patient one goes first."""
    policy = Priority(aging_s=10)
    patient = item("patient", 5, 0.0, 1)
    assert policy.rank(item("new", 0, 49.0, 2)) < policy.rank(patient)
    assert policy.rank(item("new", 0, 51.0, 2)) > policy.rank(patient)


@given(st.lists(st.integers(-20, 18), min_size=1, max_size=40), st.integers(1, 20))
def test_under_priority_nobody_is_passed_for_ever(
    item: Any, priorities: list[int], every_s: int
) -> None:
    """Against more urgent work that comes without end, each of a queue has its turn in time."""
    policy = Priority(aging_s=10)
    patient = [item(f"patient{n}", 19, 0.0, n) for n in range(3)]
    for work in patient:
        policy.on_joined(work)
    waiting, turns = patient.copy(), []
    newest_s = 0.0
    for order in range(3, 3 + 3 * (500 // every_s + 2)):
        newest_s += every_s
        newcomer = item(f"n{order}", priorities[order % len(priorities)], newest_s, order)
        policy.on_joined(newcomer)
        waiting.append(newcomer)
        work = min(waiting, key=policy.rank)
        policy.on_served(work, 1)
        policy.on_left(work)
        waiting.remove(work)
        if work in patient:
            turns.append(newest_s)
    assert len(turns) == 3
    # A level every 10 s, for at most 39 levels, since the turn before; newcomers tell the time.
    assert all(b - a <= 10 * 39 + 2 * every_s for a, b in zip([0.0, *turns], turns, strict=False))


def test_a_starved_class_has_one_turn_after_the_other(item: Any) -> None:
    """The head of a long queue gets ahead by waiting, those behind it begin to wait then."""
    policy = Priority(aging_s=10)
    batch = [item(f"b{n}", 5, 0.0, n) for n in range(3)]
    for work in batch:
        policy.on_joined(work)
    urgent = item("u", 0, 60.0, 9)
    policy.on_joined(urgent)
    assert policy.rank(batch[0]) < policy.rank(urgent)
    policy.on_served(batch[0], 1)
    assert sorted([urgent, *batch], key=policy.rank) == [batch[0], urgent, *batch[1:]]


@given(st.sampled_from([Fifo, Priority, Deadline]), st.integers(-20, 19), st.integers(-20, 19))
def test_only_a_strictly_more_urgent_class_preempts(
    item: Any, make: type[BasePolicy], running: int, waiting: int
) -> None:
    """Whoever has no deadline of its own takes the place of no equal."""
    policy = make()
    runs, waits = item("r", running), item("w", waiting)
    assert bool(policy.may_give_way([runs], waits)) == (waiting < running)


def test_the_earliest_deadline_goes_first(item: Any) -> None:
    """Work without one counts as due after the slack; only a stated deadline takes a place."""
    policy = Deadline(slack_s=60)
    soon, late = item("soon", deadline_s=10.0), item("late", deadline_s=100.0)
    patient, urgent = item("patient"), item("urgent", -1)
    order = [urgent, soon, patient, late]
    assert sorted([late, patient, soon, urgent], key=policy.rank) == order
    assert policy.may_give_way([late], soon) == [late]
    assert policy.may_give_way([late], patient) == []


def test_a_turn_ends_after_its_quantum(item: Any) -> None:
    """Who has used it up goes behind those who wait, and gives them its place."""
    policy = RoundRobin(quantum_tokens=3)
    a, b, c = item("a"), item("b"), item("c")
    for work in (a, b, c):
        policy.on_joined(work)
    for tokens in (512, 100, 1, 1):
        policy.on_served(a, tokens)
    assert sorted([c, b, a], key=policy.rank) == [a, b, c]
    policy.on_served(a, 1)
    assert sorted([c, b, a], key=policy.rank) == [b, c, a]
    assert policy.victim([a, b]) is a
    assert policy.may_give_way([a, b], c) == [a, b]


def test_who_left_the_line_joins_at_its_end(item: Any) -> None:
    """Paused work gives up its turn, and gives way before all while it holds pages."""
    policy = RoundRobin()
    a, b = item("a"), item("b")
    policy.on_joined(a)
    policy.on_joined(b)
    policy.on_left(a)
    assert policy.victim([a]) is a
    policy.on_joined(a)
    assert policy.rank(b) < policy.rank(a)


@given(st.integers(1, 200), st.integers(1, 20))
def test_turns_keep_everybody_abreast(item: Any, steps: int, quantum: int) -> None:
    """A token at a time, no two that always wait differ by more than a turn."""
    policy = RoundRobin(quantum_tokens=quantum)
    everybody = [item(str(index), order=index) for index in range(5)]
    served = dict.fromkeys(everybody, 0)
    for work in everybody:
        policy.on_joined(work)
    for _ in range(steps):
        work = min(everybody, key=policy.rank)
        served[work] += 1
        policy.on_served(work, 1)
    assert max(served.values()) - min(served.values()) <= quantum
