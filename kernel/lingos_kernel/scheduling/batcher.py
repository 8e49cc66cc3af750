"""The decision of one step: who gives way, who is admitted, who computes how many tokens.

Pure: reads sequences and numbers, changes nothing. Decoding goes first (one token each, so
streams keep flowing); prefilling ones share what is left of the token budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar, cast

from lingos_kernel.scheduling.policy import Policy, Work


class Schedulable(Work, Protocol):
    """Work with tokens to compute that needs pages to keep them."""

    @property
    def remaining(self) -> int:
        """Known tokens that are not computed yet; 1 while decoding."""

    @property
    def wanted_pages(self) -> int:
        """While running: pages it lacks for its next token, 0 or 1."""

    @property
    def needed_pages(self) -> int:
        """While waiting: pages for all its known tokens, if nothing were cached."""


W = TypeVar("W", bound=Schedulable)


@dataclass(frozen=True, slots=True)
class Placement(Generic[W]):
    """Who enters and who leaves the running ones before a step."""

    preempt: W | None = None
    """Free its pages, then decide again with true numbers; nobody is admitted until then."""
    admit: tuple[W, ...] = ()
    """To be admitted, in this order."""


def place(
    running: Sequence[W],
    waiting: Iterable[W],
    holders: Sequence[W],
    *,
    policy: Policy,
    max_running: int,
    available_pages: int,
    cost: Callable[[W], int],
) -> Placement[W]:
    """Decide who has a place among the running ones.

    `waiting` comes in the policy's order and holds nothing that could never fit; `holders` are
    paused sequences that still have pages and give way before anybody who computes. `cost` says
    exactly how many available pages an admission takes; it is asked only when memory is tight.
    """
    pages_left = available_pages - sum([work.wanted_pages for work in running])
    if pages_left < 0:
        return Placement(preempt=_victim(running, holders, policy))
    # A page for everybody's growth stays free: who is admitted shall not be preempted at once.
    pages_left -= len(running)
    admit = _admissions(waiting, max_running - len(running), pages_left, cost)
    if not admit and (head := next(iter(waiting), None)) is not None:
        return Placement(preempt=_who_gives_way(head, running, holders, policy, max_running))
    return Placement(admit=admit)


def share_budget(running: Sequence[W], budget: int) -> list[tuple[W, int]]:
    """How many tokens each sequence computes in this step, decoding ones first.

    Prefilling ones get equal parts of what decoding leaves, and what the short ones do not need
    goes to the long: no long prompt holds up a short one.
    """
    shares = [(work, 1) for work in running if work.remaining == 1][:budget]
    budget -= len(shares)
    prefilling = sorted([w for w in running if w.remaining > 1], key=lambda work: work.remaining)
    for index, work in enumerate(prefilling):
        tokens = min(work.remaining, -(-budget // (len(prefilling) - index)))
        if tokens:
            shares.append((work, tokens))
            budget -= tokens
    return shares


def _victim(running: Sequence[W], holders: Sequence[W], policy: Policy) -> W:
    return cast(W, policy.victim(holders or running))


def _admissions(
    waiting: Iterable[W], places: int, pages_left: int, cost: Callable[[W], int]
) -> tuple[W, ...]:
    """The first ones that fit. Nobody overtakes: what does not fit holds up those behind it."""
    admitted: list[W] = []
    for work in islice(waiting, max(places, 0)):
        needed = work.needed_pages
        pages_left -= needed if needed <= pages_left else cost(work)
        if pages_left < 0:
            break
        admitted.append(work)
    return tuple(admitted)


def _who_gives_way(
    head: W, running: Sequence[W], holders: Sequence[W], policy: Policy, max_running: int
) -> W | None:
    """Who makes room for the head of the queue, if anybody does."""
    if holders and len(running) < max_running:  # it is memory that is short
        return cast(W, policy.victim(holders))
    if not running:
        return None
    victim = cast(W, policy.victim(running))
    return victim if policy.is_preempted_by(victim, head) else None
