"""The decision of one step."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.batcher import Placement, place, share_budget
from lingos_kernel.scheduling.policy import Priority


@dataclass(frozen=True)
class Item:
    """A frozen view of a sequence."""

    key: str
    remaining: int = 1
    wanted_pages: int = 0
    needed_pages: int = 1
    priority: int = 0
    arrival_s: float = 0.0
    order: int = 0
    deadline_s: float | None = None
    program: str = ""
    tenant: str = ""
    served_tokens: int = 0


def decide(
    running: list[Item],
    waiting: list[Item],
    holders: list[Item] | None = None,
    *,
    pages: int,
    max_running: int = 8,
) -> Placement[Item]:
    """`place` with the priority policy, nothing cached."""
    return place(
        running,
        waiting,
        holders or [],
        policy=Priority(),
        max_running=max_running,
        available_pages=pages,
        cost=lambda item: item.needed_pages,
    )


def test_admits_in_order_what_fits() -> None:
    """The queue's head is admitted; what does not fit holds up those behind it."""
    a, b, c = Item("a", needed_pages=2), Item("b", needed_pages=5), Item("c", needed_pages=1)
    assert decide([], [a, b, c], pages=4).admit == (a,)
    assert decide([], [a, b, c], pages=8).admit == (a, b, c)
    assert decide([], [a, b, c], pages=8, max_running=2).admit == (a, b)


def test_admission_leaves_a_page_for_everybody_to_grow() -> None:
    """Who is admitted shall not push a running one out at its next page."""
    running = [Item("r1"), Item("r2")]
    assert decide(running, [Item("a", needed_pages=3)], pages=4).admit == ()
    assert len(decide(running, [Item("a", needed_pages=3)], pages=5).admit) == 1


def test_preempts_when_the_running_ones_cannot_go_on() -> None:
    """Too few pages for the next tokens: paused holders give way first, then the least urgent."""
    urgent, lazy = Item("u", wanted_pages=1, priority=-5), Item("l", wanted_pages=1, priority=5)
    assert decide([urgent, lazy], [], pages=1).preempt is lazy
    paused = Item("p", priority=-20)
    assert decide([urgent, lazy], [], [paused], pages=1).preempt is paused
    assert decide([urgent, lazy], [], pages=2).preempt is None


def test_urgent_waiting_work_takes_a_place() -> None:
    """A full house makes room for strictly more urgent work, not for equals."""
    running = [Item("r1", priority=0), Item("r2", priority=10)]
    urgent, equal = Item("u", priority=5), Item("e", priority=10, order=9)
    assert decide(running, [urgent], pages=9, max_running=2).preempt is running[1]
    assert decide(running, [equal], pages=9, max_running=2) == Placement()


def test_a_paused_holder_gives_way_to_the_queue_when_memory_is_short() -> None:
    """Pages of the paused are kept only as long as nobody needs them."""
    paused = Item("p")
    assert decide([], [Item("a", needed_pages=4)], [paused], pages=3).preempt is paused
    assert decide([Item("r")], [Item("a")], [paused], pages=9, max_running=1) == Placement()


def test_decoding_goes_first_and_prefill_shares_the_rest() -> None:
    """Every stream gets its token; short prompts are done at once, long ones get what is left."""
    decoding = [Item("d1"), Item("d2")]
    long, short = Item("long", remaining=5000), Item("short", remaining=20)
    assert share_budget([long, *decoding, short], 512) == [
        (decoding[0], 1),
        (decoding[1], 1),
        (short, 20),
        (long, 490),
    ]


@given(st.lists(st.integers(1, 900), max_size=80), st.integers(81, 600))
def test_the_budget_is_kept_and_used(remaining: list[int], budget: int) -> None:
    """No more than the budget, no less than there is to do, and nobody gets more than it has."""
    running = [Item(str(index), remaining=count) for index, count in enumerate(remaining)]
    shares = share_budget(running, budget)
    assert sum(tokens for _, tokens in shares) == min(sum(remaining), budget)
    assert all(0 < tokens <= item.remaining for item, tokens in shares)
    decoding = [item for item in running if item.remaining == 1]
    assert [item for item, _ in shares[: len(decoding)]] == decoding


def test_a_decision_is_fast() -> None:
    """256 running and 1,000 waiting: the median decision takes well under half a millisecond."""
    import statistics
    import time

    running = [Item(f"r{i}", order=i) for i in range(256)]
    waiting = [Item(f"w{i}", order=1000 + i, needed_pages=4) for i in range(1000)]
    times: list[float] = []
    for _ in range(200):
        started_s = time.perf_counter()
        decide(running, waiting, pages=100, max_running=256)
        share_budget(running, 512)
        times.append(time.perf_counter() - started_s)
    assert statistics.median(times) < 500e-6
