"""What a scheduling policy is: it says who goes first and who must give way.

Policies are pure: no clock, no torch, no input or output. They are told what happens and keep
books of it where they need to; they never change work. A plugin's policy derives from
`BasePolicy`, which needs nothing but `name` and `rank`.

Priority classes come first under every policy: waiting work of a strictly more urgent class (less
is more urgent) goes before others and may take the place of running work. Within a class the
policy decides. Only `priority` lets work of a less urgent class earn its turn by waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from lingos_kernel.scheduling.sharing import split_evenly

Rank = tuple[float, ...]


class Work(Protocol):
    """What a policy may know of a sequence; hashed and compared as the one object that it is."""

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
        """The agent or session it belongs to; empty when it stands alone."""

    @property
    def tenant(self) -> str:
        """The tenant it belongs to."""

    @property
    def order(self) -> int:
        """Number of its arrival; breaks ties, so that equals are served in turn."""

    @property
    def served_tokens(self) -> int:
        """Tokens computed for it so far; not those that had to be computed again."""

    @property
    def remaining(self) -> int:
        """Known tokens that are not computed yet; 1 while decoding."""

    @property
    def held_pages(self) -> int:
        """KV pages that it holds; 0 while it waits."""


@dataclass(frozen=True, slots=True)
class TenantBook:
    """What a policy has written down of one tenant."""

    tenant: str
    weight: float
    counter: float
    """Cost by weight; those at work come together."""
    tokens: int
    """Computed for it, by themselves."""


class Policy(Protocol):
    """Orders waiting work and picks who gives way."""

    name: ClassVar[str]

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:
        """Where work stands; less goes sooner.

        `ahead_tokens`: where it would stand once its lane was served so many tokens more. While
        work waits its rank may grow, when its lane is served, but never sinks.
        """

    def lane(self, work: Work) -> str:
        """The lane that waiting work stands in; work never changes its lane.

        Within a lane the order never changes while work waits; serving one lane leaves the
        ranks in all others as they are. So the queue looks at the heads of lanes alone.
        """

    def may_give_way(self, running: Sequence[Work], waiting: Work) -> Sequence[Work]:
        """Which running work waiting work may take the place of, when there is no other room.

        Their `victim` is put out, but only if it ranks behind the waiting work: else it would
        come back at once.
        """

    def victim(self, running: Iterable[Work]) -> Work:
        """Who gives way first when memory runs out."""

    def split(self, heads: Sequence[Work], demands: Sequence[int], budget: int) -> Sequence[int]:
        """The prompt tokens of a step for each lane, of which one member and the demand are given.

        `demands` are in ascending order; none may get more, and nothing may be left while one
        could.
        """

    def on_joined(self, work: Work) -> None:
        """Work waits or runs from now on; called before anything else is asked about it."""

    def on_served(self, work: Work, tokens: int) -> None:
        """A step computed so many tokens of running work for the first time."""

    def on_left(self, work: Work) -> None:
        """Work has ended or is paused; a paused one joins again when it goes on."""

    def on_held(self, tenant: str, pages: int) -> None:
        """Pages were kept during a step for work of the tenant that is between two turns."""

    def weigh_tenants(self, weights: Mapping[str, float]) -> None:
        """Set the shares that tenants are due; who is not named has the weight 1."""

    def tenant_books(self) -> Sequence[TenantBook]:
        """Of the tenants that it keeps books of."""


class BasePolicy:
    """One lane, ranks that stay as they are, preemption by strictly more urgent classes alone."""

    name: ClassVar[str]

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:
        """Where work stands; less goes sooner."""
        raise NotImplementedError

    def lane(self, work: Work) -> str:  # noqa: ARG002  the protocol's signature
        """All in one."""
        return ""

    def may_give_way(self, running: Sequence[Work], waiting: Work) -> Sequence[Work]:
        """Only strictly less urgent classes."""
        priority = waiting.priority
        return [work for work in running if work.priority > priority]

    def victim(self, running: Iterable[Work]) -> Work:
        """Of the least urgent class the one that would go last."""
        running = list(running)
        last = max([work.priority for work in running])
        return max([work for work in running if work.priority == last], key=self.rank)

    def split(
        self,
        heads: Sequence[Work],  # noqa: ARG002  the protocol's signature
        demands: Sequence[int],
        budget: int,
    ) -> Sequence[int]:
        """Equal parts."""
        return split_evenly(demands, budget)

    def on_joined(self, work: Work) -> None:
        """Keeps no books."""

    def on_served(self, work: Work, tokens: int) -> None:
        """Keeps no books."""

    def on_left(self, work: Work) -> None:
        """Keeps no books."""

    def on_held(self, tenant: str, pages: int) -> None:
        """Keeps no books."""

    def weigh_tenants(self, weights: Mapping[str, float]) -> None:
        """All tenants are alike."""

    def tenant_books(self) -> Sequence[TenantBook]:
        """Keeps none."""
        return ()
