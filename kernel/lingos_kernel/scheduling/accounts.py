"""Policies that keep accounts of what tenants and programs were served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lingos_kernel.scheduling.policy import BasePolicy, Rank, TenantBook, Work
from lingos_kernel.scheduling.sharing import fill_levels


@dataclass(slots=True)
class Account:
    """What one tenant or program was served; all its work shares it."""

    name: str
    weight: float = 1.0
    served: float = 0.0
    """Cost by weight."""
    at_work: int = 0
    """Pieces of work that wait or run."""
    tokens: int = 0
    """Computed, whatever they cost."""


class Fair(BasePolicy):
    """The tenant served least, by its weight, goes first: computed tokens and held pages count.

    A virtual token counter per tenant (VTC, Sheng et al. 2024). Every computed token costs 1,
    every page held during a step `page_cost`: 1/64 makes a context of a thousand tokens cost as
    much as the token computed with it. A tenant that comes back from idleness starts at the
    least counter of those at work: unused shares are nobody's savings.
    """

    name: ClassVar[str] = "fair"

    def __init__(self, *, page_cost: float = 1 / 64) -> None:
        self._page_cost = page_cost
        self._weights: dict[str, float] = {}
        self._accounts: dict[str, Account] = {}
        self._of: dict[Work, Account] = {}
        self._floor = 0.0
        """What tenants start at when nobody is at work; never sinks."""

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:
        """By the tenant's counter, then by arrival; paused work ranks before its class."""
        account = self._of.get(work)
        if account is None:
            return (work.priority, 0.0, work.order)
        return (work.priority, account.served + ahead_tokens / account.weight, work.order)

    def lane(self, work: Work) -> str:
        """One for each tenant."""
        return work.tenant

    def split(self, heads: Sequence[Work], demands: Sequence[int], budget: int) -> Sequence[int]:
        """Whoever was served least is first, so that counters come together in every step."""
        accounts = [self._of[work] for work in heads]
        levels = [account.served for account in accounts]
        return fill_levels(levels, [account.weight for account in accounts], demands, budget)

    def on_joined(self, work: Work) -> None:
        """A tenant that was idle starts where the others are."""
        tenant = work.tenant
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = Account(tenant, self._weights.get(tenant, 1.0))
        if not account.at_work:
            account.served = max(account.served, self._lowest())
        account.at_work += 1
        self._of[work] = account

    def on_served(self, work: Work, tokens: int) -> None:
        """Charges the tenant."""
        account = self._of[work]
        account.served += (tokens + self._page_cost * work.held_pages) / account.weight
        account.tokens += tokens

    def on_held(self, tenant: str, pages: int) -> None:
        """Charges the tenant for pages that it keeps while it computes nothing with them."""
        account = self._accounts.get(tenant)
        if account is None:  # it was where all begin
            weight = self._weights.get(tenant, 1.0)
            account = self._accounts[tenant] = Account(tenant, weight, self._lowest())
        account.served += self._page_cost * pages / account.weight

    def on_left(self, work: Work) -> None:
        """The last one at work says where the next to come starts."""
        account = self._of.pop(work)
        if account.at_work == 1:
            self._floor = self._lowest()
        account.at_work -= 1
        if not account.at_work:
            self._forget_settled()

    def weigh_tenants(self, weights: Mapping[str, float]) -> None:
        """Set the shares that tenants are due; who is not named has the weight 1."""
        self._weights = dict(weights)
        for account in self._accounts.values():
            account.weight = weights.get(account.name, 1.0)

    def tenant_books(self) -> Sequence[TenantBook]:
        """Of those at work, and of those that would not start at the floor."""
        return [
            TenantBook(account.name, account.weight, account.served, account.tokens)
            for account in self._accounts.values()
        ]

    def _lowest(self) -> float:
        busy = [account.served for account in self._accounts.values() if account.at_work]
        return max(min(busy, default=self._floor), self._floor)

    def _forget_settled(self) -> None:
        """Drop idle tenants that would start at the floor anyhow; debts are remembered."""
        self._accounts = {
            name: account
            for name, account in self._accounts.items()
            if account.at_work or account.served > self._floor
        }


class AttainedService(BasePolicy):
    """The program served least so far goes first (Autellix, Luo et al. 2025).

    All requests of one agent or session are one program, so that short programs are not held up
    behind long ones. Service counts in levels of `level_tokens`; within a level who came first
    goes first. Running work is put out by work of a lower level, but only if its program had had
    that much more before: to compute its tokens again must not cost more than the difference.
    Waiting earns `aging_share` of all that is served meanwhile: a program that had S tokens is
    passed by newcomers until the engine has computed about S / aging_share tokens since its
    request came.
    """

    name: ClassVar[str] = "attained-service"

    def __init__(
        self,
        *,
        level_tokens: int = 8192,
        aging_share: float = 1 / 64,
        remembered_programs: int = 4096,
    ) -> None:
        self._level_tokens = level_tokens
        self._aging_share = aging_share
        self._remembered_programs = remembered_programs
        self._accounts: dict[str, Account] = {}
        self._of: dict[Work, tuple[Account, float]] = {}
        """The account of work, and what newcomers' service counts from when it came."""
        self._earned = 0.0
        """What waiting since the beginning would have earned."""
        self._idle: dict[str, None] = {}
        """Programs between two requests, the longest idle first."""

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:
        """By the program's service, less what waiting has earned.

        Within a level and a program who waits longest goes first, so that the order within a
        program does not change when its level does.
        """
        found = self._of.get(work)
        if found is None:  # paused work ranks before its class
            return (work.priority, -1.0, 0.0, work.order)
        account, earned = found
        level = (account.served + earned + ahead_tokens) // self._level_tokens
        return (work.priority, level, earned, work.order)

    def lane(self, work: Work) -> str:
        """One for each program; work without one stands alone."""
        return work.program or work.key

    def may_give_way(self, running: Sequence[Work], waiting: Work) -> Sequence[Work]:
        """Less urgent classes, and programs of higher levels, by what they had before."""
        priority = waiting.priority
        account, earned = self._of[waiting]
        level = (account.served + earned) // self._level_tokens
        next_level = (level + 1) * self._level_tokens
        yielding = []
        for work in running:
            account, earned = self._of[work]
            before = account.served + earned - work.served_tokens
            if before >= next_level or work.priority > priority:
                yielding.append(work)
        return yielding

    def on_joined(self, work: Work) -> None:
        """Its program is at work, with the service that it had."""
        program = self.lane(work)
        self._idle.pop(program, None)
        account = self._accounts.setdefault(program, Account(program))
        account.at_work += 1
        self._of[work] = account, self._earned

    def on_served(self, work: Work, tokens: int) -> None:
        """Adds to the program's service."""
        self._of[work][0].served += tokens
        self._earned += self._aging_share * tokens

    def on_left(self, work: Work) -> None:
        """The program's service is remembered for its next request."""
        account, _ = self._of.pop(work)
        account.at_work -= 1
        if account.at_work:
            return
        if work.program:
            self._idle[account.name] = None
        else:
            del self._accounts[account.name]
        if len(self._idle) > self._remembered_programs:
            forgotten = next(iter(self._idle))
            del self._idle[forgotten], self._accounts[forgotten]
