"""Who lets others compute the beginning of its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.batcher import place
from lingos_kernel.scheduling.policies import Fifo
from lingos_kernel.scheduling.shared_prefix import common_pages, should_follow

SLOTS = 4


@dataclass(eq=False)
class Prompt:
    """Work with a prompt."""

    tokens: list[int]
    priority: int = 0
    namespace: str = ""
    matchable: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.matchable = self.matchable or self.tokens


def follows(work: Prompt, *leaders: Prompt, cached: int = 0) -> bool:
    """`should_follow` with so many pages cached."""
    return should_follow(work, leaders, page_slots=SLOTS, cached_pages=lambda _: cached)


START = list(range(16))


def test_follows_who_computes_the_same_beginning() -> None:
    """A beginning of some pages is worth the wait, whatever comes after it."""
    work = Prompt([*START, 90, 91])
    assert follows(work, Prompt([*START, 80]))
    assert follows(work, Prompt([1, 2, 3]), Prompt([*START[:8], 80]))
    assert not follows(work)
    assert not follows(work, Prompt([7, *START]))


def test_goes_alone_when_little_is_common() -> None:
    """A page less to compute does not pay for a step of waiting."""
    assert not follows(Prompt([*START, 90]), Prompt([*START[:7], 80, 81]))
    assert follows(Prompt([*START, 90]), Prompt([*START[:8], 80, 81]))


def test_goes_once_the_common_part_is_there() -> None:
    """Until the last page of it is there, it waits."""
    assert follows(Prompt([*START, 90]), Prompt([*START, 80]), cached=3)
    assert not follows(Prompt([*START, 90]), Prompt([*START, 80]), cached=4)


def test_last_token_is_always_computed() -> None:
    """A page that ends with the prompt's last token cannot be taken over."""
    assert follows(Prompt(START[:12]), Prompt(START))
    assert not follows(Prompt(START[:8]), Prompt(START))


def test_tokens_that_are_scored_cannot_be_taken_over() -> None:
    """What is to be scored is computed by the work itself."""
    assert not follows(Prompt([*START, 90], matchable=START[:7]), Prompt(START))


def test_another_tenant_leads_nobody() -> None:
    """Pages are shared within a tenant only."""
    assert not follows(
        Prompt([*START, 90], namespace="red"), Prompt([*START, 80], namespace="blue")
    )


def test_less_urgent_work_leads_nobody_more_urgent() -> None:
    """Who is more urgent goes at once; equals and the less urgent follow."""
    assert not follows(Prompt([*START, 90], priority=-1), Prompt([*START, 80]))
    assert follows(Prompt([*START, 90], priority=1), Prompt([*START, 80]))


@given(st.lists(st.integers(0, 1), max_size=40), st.lists(st.integers(0, 1), max_size=40))
def test_common_pages_are_those_a_look_at_each_finds(first: list[int], second: list[int]) -> None:
    """Halving finds the same as going from page to page."""
    most = min(len(first), len(second)) // SLOTS
    expected = 0
    while expected < most and (
        first[expected * SLOTS : (expected + 1) * SLOTS]
        == second[expected * SLOTS : (expected + 1) * SLOTS]
    ):
        expected += 1
    assert common_pages(first, second, most, SLOTS) == expected


def decide(
    running: Sequence[Any], waiting: Sequence[Any], late: set[Any], pages: int, places: int
) -> Any:
    """`place` where those of `late` are deferred."""
    return place(
        running,
        waiting,
        [],
        policy=Fifo(),
        max_running=len(running) + places,
        available_pages=pages,
        cost=lambda work: work.needed_pages,
        is_deferred=lambda work, _: work in late,
    )


def test_a_deferred_one_keeps_its_place_and_pages(item: Any) -> None:
    """Nobody behind it gets the place or the pages that it would have taken."""
    late, b, c = item("late", needed_pages=4), item("b", needed_pages=2), item("c", needed_pages=2)
    assert decide([], [late, b, c], {late}, pages=99, places=2).admit == (b,)
    assert decide([], [late, b, c], {late}, pages=6, places=9).admit == (b,)
    assert not decide([], [late, b, c], {late}, pages=5, places=9)


def test_nobody_is_put_out_for_a_deferred_one(item: Any) -> None:
    """Running work keeps its place until the deferred one would really go."""
    running, late = [item("r", priority=5)], item("late", needed_pages=9)
    assert not decide(running, [late], {late}, pages=20, places=0)
    assert not decide(running, [late], {late}, pages=3, places=1)
    assert decide(running, [late], set(), pages=20, places=0).preempt == (running[0],)
    assert decide(running, [late], set(), pages=3, places=1).preempt == (running[0],)


def test_more_may_have_given_way_for_pages_than_swaps_are_allowed(item: Any) -> None:
    """Those count against the swaps, which are used up then, not fewer than none."""
    running = [item("r", priority=5)]
    for pages in (3, 20):
        placed = place(
            running,
            [item("w", needed_pages=9)],
            [],
            policy=Fifo(),
            max_running=1 if pages == 20 else 2,
            available_pages=pages,
            cost=lambda work: work.needed_pages,
            swaps_left=-1,
        )
        assert not placed


@given(
    needed=st.lists(st.integers(1, 6), max_size=8),
    flags=st.lists(st.booleans(), min_size=8, max_size=8),
    pages=st.integers(0, 20),
    places=st.integers(0, 6),
)
def test_deferring_lets_in_nobody_else(
    item: Any, needed: list[int], flags: list[bool], pages: int, places: int
) -> None:
    """Who is admitted beside deferred ones would have been admitted beside them, too."""
    waiting = [item(f"w{n}", order=n, needed_pages=count) for n, count in enumerate(needed)]
    late = {work for work, flag in zip(waiting, flags, strict=False) if flag}
    usual = decide([], waiting, set(), pages, places).admit
    assert decide([], waiting, late, pages, places).admit == tuple(
        work for work in usual if work not in late
    )
