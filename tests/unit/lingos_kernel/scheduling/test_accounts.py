"""Policies that keep accounts of tenants and programs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.accounts import AttainedService, Fair


def serve_next(policy: Any, waiting: list[Any], tokens: int) -> Any:
    """One at a time: the next one is served so many tokens."""
    work = min(waiting, key=policy.rank)
    policy.on_served(work, tokens)
    return work


def test_the_tenant_served_least_goes_first(item: Any) -> None:
    """Tokens and held pages count, by the tenant's weight."""
    policy = Fair(page_cost=0.5)
    policy.weigh_tenants({"b": 2.0})
    a, b = item("a", tenant="a", held_pages=4), item("b", tenant="b", order=1, held_pages=10)
    policy.on_joined(a)
    policy.on_joined(b)
    policy.on_served(a, 10)  # 10 + 4 / 2 = 12
    assert policy.rank(b) < policy.rank(a)
    policy.on_served(b, 18)  # (18 + 10 / 2) / 2 = 11.5
    assert policy.rank(b) < policy.rank(a)
    policy.on_served(b, 18)
    assert policy.rank(a) < policy.rank(b)


def test_idleness_saves_up_nothing(item: Any) -> None:
    """Who comes back starts where the least served of the busy ones is, but keeps its debts."""
    policy = Fair()
    busy, idle = item("busy", tenant="busy"), item("idle", tenant="idle")
    policy.on_joined(idle)
    policy.on_served(idle, 5)
    policy.on_left(idle)
    policy.on_joined(busy)
    policy.on_served(busy, 1000)
    policy.on_joined(idle)
    assert policy.rank(idle) == policy.rank(busy) == (0, 1005, 0)
    policy.on_served(idle, 500)
    policy.on_left(idle)
    policy.on_joined(idle)
    assert policy.rank(idle)[1] == 1505


def test_a_paused_tenant_holds_nobody_back(item: Any) -> None:
    """Newcomers start at the counters of those at work, not at one that stands still."""
    policy = Fair()
    paused, busy, new = (item(name, tenant=name) for name in ("paused", "busy", "new"))
    policy.on_joined(paused)
    policy.on_joined(busy)
    policy.on_left(paused)
    policy.on_served(busy, 1000)
    policy.on_joined(new)
    assert policy.rank(new)[1] == 1000
    assert policy.victim([paused]) is paused


@given(
    st.lists(st.integers(1, 3), min_size=2, max_size=5),
    st.lists(st.integers(1, 40), min_size=50, max_size=300),
    st.booleans(),
)
def test_a_flood_gets_its_weight_and_no_more(
    item: Any, weights: list[int], costs: list[int], floods: bool
) -> None:
    """Tenants that always want some differ, by weight, by one piece of work at most."""
    policy = Fair(page_cost=0)
    names = [str(number) for number in range(len(weights))]
    policy.weigh_tenants(dict(zip(names, map(float, weights), strict=True)))
    waiting = [item(name, tenant=name, order=n) for n, name in enumerate(names)]
    if floods:
        waiting += [item(f"flood{n}", tenant="0", order=-n) for n in range(20)]
    for work in waiting:
        policy.on_joined(work)
    served = dict.fromkeys(names, 0)
    for tokens in costs:
        served[serve_next(policy, waiting, tokens).tenant] += tokens
    shares = [served[name] / weight for name, weight in zip(names, weights, strict=True)]
    assert max(shares) - min(shares) <= 40


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=200))
def test_under_fair_a_waiting_tenant_is_passed_by_a_bounded_amount(
    item: Any, arrivals: list[tuple[int, int]]
) -> None:
    """Of those who come and go, none gets more than a piece of work ahead of one that waits."""
    policy = Fair(page_cost=0)
    patient = item("patient", tenant="patient", order=10**6)
    policy.on_joined(patient)
    passed: dict[str, int] = {}
    for order, (tenant, tokens) in enumerate(arrivals):
        newcomer = item(f"n{order}", tenant=str(tenant), order=order)
        policy.on_joined(newcomer)
        if serve_next(policy, [patient, newcomer], tokens) is patient:
            return
        passed[newcomer.tenant] = passed.get(newcomer.tenant, 0) + tokens
        policy.on_left(newcomer)
        assert passed[newcomer.tenant] <= 40


def test_settled_tenants_are_forgotten(item: Any) -> None:
    """Books do not grow with everybody who ever came."""
    policy = Fair()
    for number in range(1000):
        work = item("w", tenant=str(number))
        policy.on_joined(work)
        policy.on_served(work, 10)
        policy.on_left(work)
    assert len(policy._accounts) <= 1


def test_the_program_served_least_goes_first(item: Any) -> None:
    """All requests of a program count together, over its turns."""
    policy = AttainedService(level_tokens=10, aging_share=0)
    agent = [item(f"agent{n}", program="agent", order=n) for n in range(2)]
    chat = item("chat", program="chat", order=9)
    policy.on_joined(agent[0])
    policy.on_joined(chat)
    policy.on_served(agent[0], 100)
    policy.on_left(agent[0])
    policy.on_joined(agent[1])
    assert policy.rank(chat) < policy.rank(agent[1])
    policy.on_served(chat, 105)
    assert policy.rank(agent[1]) < policy.rank(chat)  # of one level, and came first
    policy.on_served(chat, 5)
    assert policy.rank(agent[1]) < policy.rank(chat)


def test_work_without_a_program_stands_alone(item: Any) -> None:
    """Two such requests do not pay for each other, and are forgotten when they end."""
    policy = AttainedService(level_tokens=10)
    one, two = item("one"), item("two", order=1)
    policy.on_joined(one)
    policy.on_joined(two)
    policy.on_served(one, 10)
    assert policy.rank(two) < policy.rank(one)
    policy.on_left(one)
    policy.on_left(two)
    assert not policy._accounts


def test_waiting_makes_up_for_service(item: Any) -> None:
    """A program that was served much is passed only by those who come soon after it."""
    policy = AttainedService(level_tokens=1, aging_share=0.1)
    veteran, busy = item("veteran", program="v"), item("busy", program="b")
    policy.on_joined(veteran)
    policy.on_served(veteran, 1000)
    policy.on_left(veteran)
    policy.on_joined(veteran)
    policy.on_joined(busy)
    for tokens, is_before in ((9_990, True), (20, False)):  # a tenth of 10,000 is what v had
        policy.on_served(busy, tokens)
        newcomer = item("new", program=f"n{is_before}", order=1)
        policy.on_joined(newcomer)
        assert (policy.rank(newcomer) < policy.rank(veteran)) == is_before


def test_a_program_is_put_out_by_one_of_a_lower_level(item: Any) -> None:
    """Not within a level: taking turns costs more than it gains."""
    policy = AttainedService(level_tokens=100, aging_share=0)
    runs, waits = item("r", program="r"), item("w", program="w")
    policy.on_joined(runs)
    policy.on_joined(waits)
    policy.on_served(runs, 99)
    assert not policy.may_give_way([runs], waits)
    policy.on_served(runs, 1)
    assert policy.may_give_way([runs], waits) == [runs]
    runs.served_tokens = 100  # all of it for this very request
    assert not policy.may_give_way([runs], waits)


def test_programs_idle_longest_are_forgotten(item: Any) -> None:
    """Sessions that never come back do not fill the memory."""
    policy = AttainedService(remembered_programs=10)
    for number in range(100):
        work = item("w", program=str(number))
        policy.on_joined(work)
        policy.on_served(work, 1)
        policy.on_left(work)
    assert sorted(policy._accounts) == [str(number) for number in range(90, 100)]
