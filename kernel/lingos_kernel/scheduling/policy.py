"""Policies: who goes first, who must give way. Pure: no clock, no torch, no state of their own.

A policy gives each piece of work a rank; less goes sooner. Ranks are computed when work enters
the queue and when something about it changes, not at every step. A policy whose ranks change
with the service that others get says so with `is_dynamic`, and its queue is ranked anew before
it is read.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from lingos_kernel.errors import ConfigError

Rank = tuple[float, ...]


class Work(Protocol):
    """What a policy and the batcher may know of a sequence; they never change it."""

    @property
    def key(self) -> str:
        """Unique name of this piece of work."""

    @property
    def priority(self) -> int:
        """Lower is more urgent, as with Unix nice: -20 to 19."""

    @property
    def arrival_s(self) -> float:
        """When its request arrived."""

    @property
    def deadline_s(self) -> float | None:
        """When it should be done, on the same clock; None when nobody said."""

    @property
    def program(self) -> str:
        """The agent or session it belongs to."""

    @property
    def tenant(self) -> str:
        """The tenant it belongs to."""

    @property
    def order(self) -> int:
        """Number of its arrival; breaks ties, so that equals are served in turn."""

    @property
    def served_tokens(self) -> int:
        """Tokens computed for it so far."""


class Policy(Protocol):
    """Orders waiting work and picks who gives way."""

    name: ClassVar[str]
    is_dynamic: ClassVar[bool]

    def rank(self, work: Work) -> Rank:
        """Where work stands; less goes sooner. Ends in `order`, so that no two are equal."""

    def is_preempted_by(self, running: Work, waiting: Work) -> bool:
        """Whether waiting work may take the place of running work when there is no other room."""

    def victim(self, running: Iterable[Work]) -> Work:
        """Who gives way first when memory runs out."""


class _RankedPolicy:
    """What all policies that are defined by their rank alone have in common."""

    is_dynamic: ClassVar[bool] = False

    def rank(self, work: Work) -> Rank:
        raise NotImplementedError

    def victim(self, running: Iterable[Work]) -> Work:
        """The one that would go last."""
        return max(running, key=self.rank)


class Fifo(_RankedPolicy):
    """First come, first served; nobody is preempted but for memory."""

    name: ClassVar[str] = "fifo"

    def rank(self, work: Work) -> Rank:
        """By arrival."""
        return (work.arrival_s, work.order)

    def is_preempted_by(self, running: Work, waiting: Work) -> bool:  # noqa: ARG002  the protocol's signature
        """Never: who has started finishes."""
        return False


class Priority(_RankedPolicy):
    """The more urgent first; waiting makes work more urgent, one level every `aging_s` seconds.

    As everybody ages at the same pace, priority + arrival / aging_s orders work the same way at
    every moment: aging needs no clock and no second look at the queue.
    """

    name: ClassVar[str] = "priority"

    def __init__(self, aging_s: float = 10.0) -> None:
        self._aging_s = aging_s

    def rank(self, work: Work) -> Rank:
        """By priority, less what waiting has earned."""
        return (work.priority + work.arrival_s / self._aging_s, work.order)

    def is_preempted_by(self, running: Work, waiting: Work) -> bool:
        """Only by strictly more urgent work that also stands before it in the queue's order."""
        return waiting.priority < running.priority and self.rank(waiting) < self.rank(running)


POLICIES: dict[str, Callable[[], Policy]] = {Fifo.name: Fifo, Priority.name: Priority}
"""The policies that come with LingOS, by name."""


def make_policy(name: str) -> Policy:
    """The policy of a name, or the one of a plugin as MODULE:CLASS.

    Raises `ConfigError` on an unknown one.
    """
    if ":" in name:
        policy: Policy = pkgutil.resolve_name(name)()
        return policy
    if name not in POLICIES:
        raise ConfigError(
            f"no scheduling policy is called {name!r}",
            hint=f"engine.policy is one of: {', '.join(sorted(POLICIES))}, or of a plugin",
        )
    return POLICIES[name]()
