"""The decision of one step: who gives way, who is admitted, who computes how many tokens.

Pure: reads sequences and numbers, changes nothing. Decoding goes first (one token each, so
streams keep flowing); prefilling ones share what is left of the token budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Literal, Protocol, TypeVar, cast

from lingos_kernel.scheduling.holds import Held, to_let_go
from lingos_kernel.scheduling.policy import Policy, Work
from lingos_kernel.scheduling.sharing import split_evenly

URGENT_SHARE = 7 / 8
"""Of the prefill tokens, when less urgent classes want some, too: enough that the urgent hardly
notice them, and they do not starve."""

UNLIMITED = 1 << 62

SWAPS_PER_STEP = 2
"""Running ones that give their place to waiting ones before one step. Who comes in must compute
its prompt first, for which a step's tokens seldom suffice for more."""


class Schedulable(Work, Protocol):
    """Work with tokens to compute that needs pages to keep them."""

    @property
    def wanted_pages(self) -> int:
        """While running: pages it lacks for its next token, 0 or 1."""

    @property
    def needed_pages(self) -> int:
        """While waiting: pages for all its known tokens, if nothing were cached."""


W = TypeVar("W", bound=Schedulable)


@dataclass(frozen=True, slots=True)
class Allowance:
    """Tokens of one step, prefill and decode together."""

    tokens: int
    others: int = UNLIMITED
    """At most so many of them for work that is less urgent than the most urgent prompt."""


@dataclass(frozen=True, slots=True)
class Placement(Generic[W]):
    """Who enters or leaves the running ones; nobody does once everybody has the right place."""

    preempt: tuple[W, ...] = ()
    """Free their pages, then decide again with true numbers."""
    admit: tuple[W, ...] = ()
    """To be admitted, in this order; then decide again: others may have to make room."""
    shortage: Literal["slots", "pages"] = "pages"
    """Why somebody gives way: pages are short, or nothing but places are."""

    let_go: Held | None = None
    """A hold to end before anybody has to give way; then decide again."""

    def __bool__(self) -> bool:
        return bool(self.preempt or self.admit or self.let_go)

    def prefilling_after(self, prefilling: Iterable[W]) -> list[W]:
        """Who computes a prompt once this is done, when these do before it."""
        staying = [work for work in prefilling if work not in self.preempt]
        return staying + [work for work in self.admit if work.remaining > 1]


def place(
    running: Sequence[W],
    waiting: Iterable[W],
    holders: Sequence[W],
    *,
    policy: Policy,
    max_running: int,
    available_pages: int,
    cost: Callable[[W], int],
    swaps_left: int = SWAPS_PER_STEP,
    is_deferred: Callable[[W, Sequence[W]], bool] | None = None,
    held: Sequence[Held] = (),
) -> Placement[W]:
    """Decide who has a place among the running ones.

    `waiting` comes in the policy's order, is read once, and holds nothing that could never fit;
    `holders` are paused sequences that still have pages and give way before anybody who computes.
    `cost` says exactly how many available pages an admission takes; it is asked only when memory
    is tight.
    At most `swaps_left` running ones give way to waiting ones; when the running ones could not go
    on, one gives way whatever it says. `is_deferred` says of waiting work, and of those admitted
    before it just now, whether it had better wait for them or for running work a moment longer;
    its place and its pages are kept for it, so nobody behind it gets them meanwhile. `held` are the
    pages kept between two turns; what they give way to, `scheduling.holds` says.
    """
    defers = is_deferred or _nobody
    swaps_left = max(swaps_left, 0)  # who gives way for pages counts, and is not limited
    places = max_running - len(running)
    # A page for everybody's growth stays free: who comes in shall not push another out at once.
    pages_left = available_pages - len(running)
    if pages_left < 0 and available_pages < sum([work.wanted_pages for work in running]):
        return _relief(running, holders, held, policy)
    if places > 0 or pages_left < 0:
        admit, held_up = _admissions(waiting, places, pages_left, cost, defers)
        if admit:
            return Placement(admit=admit)
        if places > 0:  # it is memory that is short, if anybody is held up
            return _make_room(running, held_up, holders, held, policy, swaps_left)
    heads = [work for work in islice(waiting, swaps_left) if not defers(work, ())]
    shortage: Literal["slots", "pages"] = "pages" if places > 0 else "slots"
    return Placement(preempt=_swaps(running, heads, policy), shortage=shortage)


def share_budget(
    running: Sequence[W], allowance: Allowance, policy: Policy | None = None
) -> list[tuple[W, int]]:
    """How many tokens each sequence computes in this step, decoding ones first.

    Among the prefilling ones the most urgent class goes first, up to `URGENT_SHARE` while others
    want some. Within it the policy's lanes get what it gives them, and the ones of a lane equal
    parts; what the short ones do not need goes to the long: no long prompt holds up a short one.
    Beside an urgent prompt less urgent work is left out of the step, if the allowance says so.
    """
    decoding: list[W] = []
    prefilling: list[W] = []
    for work in running:
        (decoding if work.remaining == 1 else prefilling).append(work)
    if not prefilling:
        return [(work, 1) for work in decoding[: allowance.tokens]]
    prefilling.sort(key=lambda work: work.remaining)
    urgent_class = min([work.priority for work in prefilling])
    rows, others = _rows(decoding, urgent_class, allowance.others, policy)
    rows = rows[: allowance.tokens]
    budget = Allowance(allowance.tokens - len(rows), others)
    return [(work, 1) for work in rows] + _share_prefill(prefilling, urgent_class, budget, policy)


def _rows(
    decoding: list[W], urgent_class: int, others: int, policy: Policy | None
) -> tuple[list[W], int]:
    """Who decodes beside a prompt of a class, and the tokens that less urgent ones have left."""
    less_urgent = [work for work in decoding if work.priority > urgent_class]
    if len(less_urgent) <= others:
        return decoding, others - len(less_urgent)
    if policy is not None:
        less_urgent.sort(key=policy.rank)
    left_out = set(less_urgent[others:])
    return [work for work in decoding if work not in left_out], 0


def _share_prefill(
    prefilling: list[W], urgent_class: int, allowance: Allowance, policy: Policy | None
) -> list[tuple[W, int]]:
    budget = allowance.tokens
    urgent = [work for work in prefilling if work.priority == urgent_class]
    others = [work for work in prefilling if work.priority != urgent_class]
    wanted = min(sum([work.remaining for work in others]), allowance.others)
    reserve = min(budget - int(budget * URGENT_SHARE), wanted)
    urgent_shares = _share_lanes(urgent, budget - reserve, policy)
    budget -= sum([tokens for _, tokens in urgent_shares])
    return urgent_shares + _share_lanes(others, min(budget, wanted), policy)


def _share_lanes(prefilling: list[W], budget: int, policy: Policy | None) -> list[tuple[W, int]]:
    """What the policy gives each lane, in equal parts for its members (the shortest first)."""
    lanes: dict[str, list[W]] = {}
    for work in prefilling:
        lanes.setdefault(policy.lane(work) if policy else "", []).append(work)
    members = sorted(lanes.values(), key=_demand)
    demands = [_demand(lane) for lane in members]
    if policy is None or len(members) < 2:
        parts: Sequence[int] = split_evenly(demands, budget)
    else:
        parts = policy.split([lane[0] for lane in members], demands, budget)
    return [
        (work, tokens)
        for lane, part in zip(members, parts, strict=True)
        for work, tokens in zip(
            lane, split_evenly([work.remaining for work in lane], part), strict=True
        )
        if tokens
    ]


def _demand(lane: Sequence[W]) -> int:
    return sum([work.remaining for work in lane])


def _relief(
    running: Sequence[W], holders: Sequence[W], held: Sequence[Held], policy: Policy
) -> Placement[W]:
    """Who gives way when the running ones lack pages to go on."""
    if not holders and held:
        most_urgent = min([work.priority for work in running])
        is_last_resort = len(running) == 1
        hold = to_let_go(held, needy_priority=most_urgent, is_last_resort=is_last_resort)
        if hold:
            return Placement(let_go=hold)
    return Placement(preempt=(_victim(running, holders, policy),))


def _make_room(
    running: Sequence[W],
    held_up: Sequence[W],
    holders: Sequence[W],
    held: Sequence[Held],
    policy: Policy,
    swaps_left: int,
) -> Placement[W]:
    """Who gives way to waiting work that memory is too short for."""
    if not held_up:
        return Placement()
    if holders:
        return Placement(preempt=(_victim(running, holders, policy),))
    hold = to_let_go(held, needy_priority=held_up[0].priority, is_last_resort=not running)
    if hold:
        return Placement(let_go=hold)
    return Placement(preempt=_swaps(running, held_up[:swaps_left], policy))


def _victim(running: Sequence[W], holders: Sequence[W], policy: Policy) -> W:
    return cast(W, policy.victim(holders or running))


def _admissions(
    waiting: Iterable[W],
    places: int,
    pages_left: int,
    cost: Callable[[W], int],
    defers: Callable[[W, Sequence[W]], bool],
) -> tuple[tuple[W, ...], list[W]]:
    """The first ones that fit, and the one for which memory is short, if there is one.

    Nobody overtakes: what does not fit holds up those behind it, and who is deferred keeps a place
    and the pages that it would take now.
    """
    admitted: list[W] = []
    for work in islice(waiting, max(places, 0)):
        is_deferred = defers(work, admitted)
        needed = work.needed_pages
        pages_left -= needed if needed <= pages_left else cost(work)
        if pages_left < 0:
            return tuple(admitted), [] if is_deferred else [work]
        if not is_deferred:
            admitted.append(work)
    return tuple(admitted), []


def _nobody(work: object, admitted: Sequence[object]) -> bool:  # noqa: ARG001  as `is_deferred`
    return False


def _swaps(running: Sequence[W], heads: Sequence[W], policy: Policy) -> tuple[W, ...]:
    """Who makes room for those next in the queue, one for each."""
    leaving: list[W] = []
    for head in heads:
        candidates = policy.may_give_way(running, head)
        if leaving:
            candidates = [work for work in candidates if work not in leaving]
        if not candidates:
            break
        victim = cast(W, policy.victim(candidates))
        if policy.rank(victim) < policy.rank(head):
            break
        leaving.append(victim)
    return tuple(leaving)
