"""The pages that one model keeps for programs between two turns, and their places in line."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lingos_kernel.engine.messages import HoldPages
from lingos_kernel.engine.stat_rows import HoldStats
from lingos_kernel.memory.ledger import Holding, PageLedger
from lingos_kernel.scheduling.holds import TENANT_SHARE, HoldBounds, Place, over_budget

REMEMBERED_PLACES = 4096
"""Of requests that have ended: a hold comes right after the turn that it follows."""


@dataclass(slots=True, eq=False)
class PageHold:
    """Pages that nobody computes with and nobody may evict."""

    command: HoldPages
    holding: Holding
    priority: int
    until_s: float
    place: Place | None
    """In line, of the turn that it follows; None when that is forgotten."""

    @property
    def hold_id(self) -> str:
        """The id that the kernel gave it."""
        return self.command.hold_id

    @property
    def pages(self) -> int:
        """How many it keeps."""
        return len(self.holding.pages)


class PageHolds:
    """Takes holds in and ends them: by time, on request, or when their next turn has its pages."""

    def __init__(
        self,
        ledger: PageLedger,
        clock: Callable[[], float],
        *,
        tenant_share: float = TENANT_SHARE,
    ) -> None:
        """`tenant_share`: of the pages that may be held, at most so much for one tenant."""
        self.bounds = HoldBounds.of(ledger.pool.total_pages, tenant_share)
        self._ledger = ledger
        self._clock = clock
        self._holds: dict[str, PageHold] = {}
        self._counts: Counter[int] = Counter()
        """In how many holds each page is."""
        self._tenants: dict[str, Counter[int]] = {}
        """The same of each tenant that holds any."""
        self._places: OrderedDict[str, Place] = OrderedDict()

    def __iter__(self) -> Iterator[PageHold]:
        """All holds."""
        return iter(self._holds.values())

    @property
    def pages(self) -> int:
        """Pages that are held, shared ones once."""
        return len(self._counts)

    @property
    def tenant_pages(self) -> dict[str, int]:
        """Pages that each tenant holds, shared ones once for each."""
        return {tenant: len(counts) for tenant, counts in self._tenants.items()}

    def keep(self, command: HoldPages, namespace: str) -> int:
        """Hold what is cached of the tokens; how many pages that are, 0 when there is no room.

        A hold of the same id is replaced.
        """
        self.release(command.hold_id)
        pages = self._ledger.tree.peek(namespace, command.tokens)[0]
        if not pages:
            return 0
        slots = pages * self._ledger.page_slots
        # One token more: the last one of a prompt is never taken from the cache.
        tokens = (*command.tokens[:slots], 0)
        hold = PageHold(
            command=command,
            holding=self._ledger.open(namespace, tokens, slots, priority=command.priority),
            priority=command.priority,
            until_s=self._clock() + command.for_s,
            place=self._places.get(command.after),
        )
        self._holds[hold.hold_id] = hold
        tenant = command.tenant
        self._counts.update(hold.holding.pages)
        self._tenants.setdefault(tenant, Counter()).update(hold.holding.pages)
        self._keep_within_bounds(tenant)
        return hold.pages if hold.hold_id in self._holds else 0

    def release(self, hold_id: str) -> None:
        """End a hold; its pages stay cached. One that is not there is ignored."""
        hold = self._holds.pop(hold_id, None)
        if hold is None:
            return
        theirs = self._tenants[hold.command.tenant]
        for counts in (self._counts, theirs):
            counts.subtract(hold.holding.pages)
            for page in hold.holding.pages:
                if not counts[page]:
                    del counts[page]
        if not theirs:
            del self._tenants[hold.command.tenant]
        self._ledger.close(hold.holding)

    def expire(self) -> None:
        """End the holds whose time is over."""
        if self._holds:
            now_s = self._clock()
            for hold in [hold for hold in self if hold.until_s <= now_s]:
                self.release(hold.hold_id)

    def renice(self, hold_id: str, priority: int) -> None:
        """Change the priority of a hold, if it is there."""
        if hold := self._holds.get(hold_id):
            hold.priority = hold.holding.priority = priority

    def claim(self, hold_id: str, tenant: str) -> Place | None:
        """The next turn has come: its hold stays until it has its pages. Its place in line."""
        hold = self._holds.get(hold_id)
        if hold is None or hold.command.tenant != tenant:
            return None
        hold.until_s = math.inf
        return hold.place

    def remember(self, request_id: str, place: Place) -> None:
        """A request has ended; a hold that follows it takes its place in line."""
        self._places[request_id] = place
        if len(self._places) > REMEMBERED_PLACES:
            self._places.popitem(last=False)

    def stats(self, model: str, now_s: float) -> list[HoldStats]:
        """One row for each."""
        return [
            HoldStats(
                hold_id=hold.hold_id,
                pid=hold.command.pid,
                model=model,
                tenant=hold.command.tenant,
                priority=hold.priority,
                why=hold.command.why,
                pages=hold.pages,
                left_s=None if math.isinf(hold.until_s) else max(hold.until_s - now_s, 0.0),
            )
            for hold in self
        ]

    def check_integrity(self) -> None:
        """Assert that the counts are those of the holds."""
        assert self._counts == Counter(page for hold in self for page in hold.holding.pages)
        tenants = {hold.command.tenant for hold in self}
        assert self._tenants == {
            tenant: Counter(page for hold in self._of(tenant) for page in hold.holding.pages)
            for tenant in tenants
        }
        assert self.pages <= self.bounds.pages
        assert all(pages <= self.bounds.tenant_pages for pages in self.tenant_pages.values())

    def _of(self, tenant: str) -> list[PageHold]:
        return [hold for hold in self if hold.command.tenant == tenant]

    def _keep_within_bounds(self, tenant: str) -> None:
        """The tenant that came last gives up its own first; then the least urgent of all goes."""
        most = self.bounds.tenant_pages
        while self.tenant_pages.get(tenant, 0) > most and (hold := over_budget(self._of(tenant))):
            self.release(hold.hold_id)
        while self.pages > self.bounds.pages and (hold := over_budget(self)):
            self.release(hold.hold_id)
