"""The decision of one step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.accounts import AttainedService, Fair
from lingos_kernel.scheduling.batcher import Allowance, Placement, place, share_budget
from lingos_kernel.scheduling.policies import Fifo, Priority
from lingos_kernel.scheduling.policy import BasePolicy, Policy


def decide(
    running: list[Any],
    waiting: list[Any],
    holders: list[Any] | None = None,
    *,
    pages: int,
    max_running: int = 8,
    policy: Policy | None = None,
    swaps_left: int = 2,
) -> Placement[Any]:
    """`place`, nothing cached."""
    return place(
        running,
        waiting,
        holders or [],
        policy=policy or Priority(),
        max_running=max_running,
        available_pages=pages,
        cost=lambda work: work.needed_pages,
        swaps_left=swaps_left,
    )


def test_admits_in_order_what_fits(item: Any) -> None:
    """The queue's head is admitted; what does not fit holds up those behind it."""
    a, b, c = item("a", needed_pages=2), item("b", needed_pages=5), item("c", needed_pages=1)
    assert decide([], [a, b, c], pages=4).admit == (a,)
    assert decide([], [a, b, c], pages=8).admit == (a, b, c)
    assert decide([], [a, b, c], pages=8, max_running=2).admit == (a, b)


def test_admission_leaves_a_page_for_everybody_to_grow(item: Any) -> None:
    """Who is admitted shall not push a running one out at its next page."""
    running = [item("r1"), item("r2")]
    assert decide(running, [item("a", needed_pages=3)], pages=4).admit == ()
    assert len(decide(running, [item("a", needed_pages=3)], pages=5).admit) == 1


def test_preempts_when_the_running_ones_cannot_go_on(item: Any) -> None:
    """Too few pages for the next tokens: paused holders give way first, then the least urgent."""
    urgent, lazy = item("u", wanted_pages=1, priority=-5), item("l", wanted_pages=1, priority=5)
    assert decide([urgent, lazy], [], pages=1).preempt == (lazy,)
    paused = item("p", priority=-20)
    assert decide([urgent, lazy], [], [paused], pages=1).preempt == (paused,)
    assert decide([urgent, lazy], [], pages=2).preempt == ()


@pytest.mark.parametrize("policy", [Priority(), Fifo(), Fair()])
def test_urgent_waiting_work_takes_a_place(item: Any, policy: Policy) -> None:
    """A full house makes room for strictly more urgent work, not for equals."""
    running = [item("r1", priority=0), item("r2", priority=10)]
    urgent, equal = item("u", priority=5, order=8), item("e", priority=10, order=9)
    placed = decide(running, [urgent], pages=9, max_running=2, policy=policy)
    assert placed.preempt == (running[1],)
    assert not decide(running, [equal], pages=9, max_running=2, policy=policy)


def test_few_give_way_before_one_step(item: Any) -> None:
    """One for each of the next in the queue, the least urgent first, and no more than allowed."""
    running = [item(f"r{n}", priority=n, order=n) for n in range(4)]
    urgent = [item(f"u{n}", priority=2, order=9 + n) for n in range(3)]
    assert decide(running, urgent[:1], pages=9, max_running=4).preempt == (running[3],)
    assert decide(running, urgent, pages=9, max_running=4).preempt == (running[3],)
    more = [item(f"m{n}", priority=-1, order=9 + n) for n in range(3)]
    assert decide(running, more, pages=9, max_running=4).preempt == (running[3], running[2])
    assert not decide(running, more, pages=9, max_running=4, swaps_left=0)
    blocked = [item("big", priority=-1, needed_pages=99), *more]
    assert decide(running, blocked, pages=9, max_running=8).preempt == (running[3],)


def test_nobody_is_put_out_for_what_ranks_behind(item: Any) -> None:
    """Else it would come back at once, and the decision would never end."""

    class Stubborn(BasePolicy):
        name = "stubborn"

        def rank(self, work: Any, ahead_tokens: int = 0) -> tuple[float, ...]:
            return (work.order,)

    running, waiting = item("r", priority=9, order=1), item("w", priority=-9, order=2)
    assert not decide([running], [waiting], pages=9, max_running=1, policy=Stubborn())


def test_a_paused_holder_gives_way_to_the_queue_when_memory_is_short(item: Any) -> None:
    """Pages of the paused are kept only as long as nobody needs them."""
    paused = item("p")
    assert decide([], [item("a", needed_pages=4)], [paused], pages=3).preempt == (paused,)
    assert not decide([item("r")], [item("a")], [paused], pages=9, max_running=1)


def test_decoding_goes_first_and_prefill_shares_the_rest(item: Any) -> None:
    """Every stream gets its token; short prompts are done at once, long ones get what is left."""
    decoding = [item("d1"), item("d2")]
    long, short = item("long", remaining=5000), item("short", remaining=20)
    assert share_budget([long, *decoding, short], Allowance(512)) == [
        (decoding[0], 1),
        (decoding[1], 1),
        (short, 20),
        (long, 490),
    ]


def test_an_urgent_prompt_is_hardly_held_up_by_others(item: Any) -> None:
    """It gets seven eighths of the prefill tokens; the others do not starve."""
    batch = [item(f"b{i}", priority=10, remaining=4000) for i in range(30)]
    urgent = item("u", priority=0, remaining=2000)
    shares = dict(share_budget([*batch, urgent], Allowance(512)))
    assert shares[urgent] == 448
    assert sum(shares.values()) == 512
    assert dict(share_budget([urgent], Allowance(512))) == {urgent: 512}
    small = item("s", priority=0, remaining=100)
    assert sum(t for w, t in share_budget([*batch, small], Allowance(512)) if w is not small) == 412


def test_less_urgent_work_may_be_left_out_beside_an_urgent_prompt(item: Any) -> None:
    """Who decodes first, the next by the policy, then prompts; equals of the urgent always do."""
    rows = [item(f"d{n}", priority=10, order=9 - n) for n in range(4)]
    equal, batch = item("e"), item("b", priority=10, remaining=900)
    urgent = item("u", remaining=50)
    running = [*rows, equal, batch, urgent]
    two = dict(share_budget(running, Allowance(512, others=2), Fifo()))
    assert two == {equal: 1, rows[2]: 1, rows[3]: 1, urgent: 50}
    assert dict(share_budget(running, Allowance(512, others=0), Fifo())) == {equal: 1, urgent: 50}
    seven = dict(share_budget(running, Allowance(512, others=7), Fifo()))
    assert seven == {**dict.fromkeys(rows, 1), equal: 1, urgent: 50, batch: 3}
    without = dict(share_budget([*rows, equal, batch], Allowance(512, others=0), Fifo()))
    assert without == {**dict.fromkeys(rows, 1), equal: 1, batch: 507}


def joined(policy: Policy, work: list[Any]) -> Policy:
    """The policy, which knows of the work."""
    for each in work:
        policy.on_joined(each)
    return policy


def test_lanes_share_prefill_alike(item: Any) -> None:
    """A program's one prompt gets as much as another program's thirty together."""
    flood = [item(f"a{i}", program="a", remaining=4000) for i in range(30)]
    alone = item("b", program="b", remaining=4000)
    policy = joined(AttainedService(), [*flood, alone])
    shares = dict(share_budget([*flood, alone], Allowance(512), policy))
    assert shares[alone] == 256
    assert sum(shares.values()) == 512


def test_under_fair_prefill_makes_up_for_what_tenants_were_served(item: Any) -> None:
    """The one served least has the step's tokens until it is level with the other."""
    one, two = item("a", tenant="a", remaining=4000), item("b", tenant="b", remaining=4000)
    policy = joined(Fair(), [one, two])
    policy.on_served(one, 256)
    assert dict(share_budget([one, two], Allowance(512), policy)) == {one: 128, two: 384}
    policy.on_served(one, 300)
    assert dict(share_budget([one, two], Allowance(512), policy)) == {two: 512}
    policy.weigh_tenants({"a": 3.0})
    two.remaining = 100
    assert dict(share_budget([one, two], Allowance(512), policy)) == {one: 412, two: 100}


@given(
    st.lists(
        st.tuples(st.integers(1, 900), st.integers(-1, 1), st.sampled_from("abc")), max_size=80
    ),
    st.integers(81, 600),
)
def test_the_budget_is_kept_and_used(
    item: Any, work: list[tuple[int, int, str]], budget: int
) -> None:
    """No more than the budget, no less than there is to do, and nobody gets more than it has."""
    running = [
        item(str(index), remaining=count, priority=priority, tenant=tenant)
        for index, (count, priority, tenant) in enumerate(work)
    ]
    shares = share_budget(running, Allowance(budget), joined(Fair(), running))
    assert sum(tokens for _, tokens in shares) == min(sum(w.remaining for w in running), budget)
    assert all(0 < tokens <= work.remaining for work, tokens in shares)
    assert len({work for work, _ in shares}) == len(shares)
    decoding = [work for work in running if work.remaining == 1]
    assert [work for work, _ in shares[: len(decoding)]] == decoding
