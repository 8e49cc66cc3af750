"""The wait-for graph over locks: who can never go on, and the cycle that shows why. Pure.

A task that waits is stuck when its request would not fit even after everybody who is not stuck has
given back all that they hold, and everybody ahead in its queue has been served. (For mutexes that
is a cycle of waits; with semaphores and rwlocks a cycle alone is not yet a deadlock.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol


class Holder(NamedTuple):
    """Who holds or waits: a task of a process. A task does one thing at a time."""

    pid: int
    task: str = ""

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.task})" if self.task else f"pid {self.pid}"


class Wait(NamedTuple):
    """A request in a lock's queue; a higher id began later."""

    wait_id: int
    lock: str
    holder: Holder
    units: int


class Units(Protocol):
    """What the graph reads of a lock."""

    @property
    def kind(self) -> str:
        """Barriers are left out: anybody may yet arrive."""

    @property
    def free(self) -> int:
        """Units nobody holds."""

    @property
    def held(self) -> Mapping[Holder, int]:
        """Units by holder."""

    @property
    def queue(self) -> Sequence[Wait]:
        """Waits, in the order of service."""


class Link(NamedTuple):
    """`wait` is kept waiting by `blocker`, which holds the lock or waits ahead in its queue."""

    wait: Wait
    blocker: Holder
    holds: bool


Locks = Mapping[str, Units]
WaitsOf = Mapping[Holder, Sequence[Wait]]


def find_cycle(start: Holder, locks: Locks, waits_of: WaitsOf) -> tuple[Link, ...]:
    """The deadlock through `start` as links, each blocked by the next one's holder; else ()."""
    reached = _reach(start, locks, waits_of)
    if start not in {link.blocker for link in reached}:
        return ()
    involved = {link.wait.lock for link in reached}
    stuck = _stuck({name: locks[name] for name in involved})
    if start not in {wait.holder for wait in stuck}:
        return ()
    return _shortest(start, [link for link in reached if link.wait in stuck])


def describe(cycle: Sequence[Link], labels: Sequence[str]) -> str:
    """pid 12 waits for mutex:b held by pid 13; pid 13 waits for mutex:a held by pid 12"""
    return "; ".join(
        f"{link.wait.holder} waits for {label} {'held by' if link.holds else 'behind'} "
        f"{link.blocker}"
        for link, label in zip(cycle, labels, strict=True)
    )


def _links(wait: Wait, lock: Units) -> Iterator[Link]:
    """Who may keep this wait waiting."""
    if lock.kind == "barrier":
        return
    if wait.units > lock.free:  # a reader waits for the writer ahead of it, not for readers inside
        for holder in lock.held:
            yield Link(wait, holder, True)
    for ahead in lock.queue:
        if ahead == wait:
            return
        yield Link(wait, ahead.holder, False)


def _reach(start: Holder, locks: Locks, waits_of: WaitsOf) -> list[Link]:
    """All links that can be followed from `start`."""
    seen = {start}
    todo = [start]
    links = []
    while todo:
        for wait in waits_of.get(todo.pop(), ()):
            for link in _links(wait, locks[wait.lock]):
                links.append(link)
                if link.blocker not in seen:
                    seen.add(link.blocker)
                    todo.append(link.blocker)
    return links


def _stuck(locks: Locks) -> set[Wait]:
    """The waits left over when everybody else is let run to the end, again and again."""
    stuck = {wait for lock in locks.values() for wait in lock.queue}
    while True:
        stuck_holders = {wait.holder for wait in stuck}
        served = {
            wait for lock in locks.values() for wait in _servable(lock, stuck_holders)
        } & stuck
        if not served:
            return stuck
        stuck -= served


def _servable(lock: Units, stuck_holders: set[Holder]) -> Iterator[Wait]:
    """Waits that fit, in order, once everybody who is not stuck has given back their units."""
    free = lock.free + sum(n for holder, n in lock.held.items() if holder not in stuck_holders)
    for wait in lock.queue:
        if wait.units > free:
            return
        yield wait
        if wait.holder in stuck_holders:  # it keeps these units while it waits for others
            free -= wait.units


def _shortest(start: Holder, links: Sequence[Link]) -> tuple[Link, ...]:
    """The shortest way along links from `start` back to it."""
    by_waiter: dict[Holder, list[Link]] = {}
    for link in links:
        by_waiter.setdefault(link.wait.holder, []).append(link)
    paths: list[tuple[Link, ...]] = [(link,) for link in by_waiter.get(start, ())]
    seen: set[Holder] = set()
    for path in paths:  # breadth first: grows while it is walked
        blocker = path[-1].blocker
        if blocker == start:
            return path
        if blocker not in seen:
            seen.add(blocker)
            paths += [(*path, link) for link in by_waiter.get(blocker, ())]
    return ()
