"""The ledger of pages: nothing leaks, whatever sequences do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lingos_kernel.memory.ledger import Holding, PageLedger
from lingos_kernel.memory.pages import pages_for

SLOTS = 4
PAGES = 24


def test_a_second_prompt_finds_the_pages_of_the_first() -> None:
    """All but the last token of an identical prompt may come from the cache, in whole pages."""
    ledger = PageLedger(8, page_slots=4)
    tokens = list(range(12))
    first = ledger.open("", tokens, 12)
    assert first.cached_pages == 0
    ledger.commit(first, tokens, 12)
    second = ledger.open("", tokens, 12)
    assert second.cached_pages == 2
    assert second.pages[:2] == first.pages[:2]
    assert second.pages[2] != first.pages[2]
    ledger.check_integrity([first, second])


def test_a_fork_shares_all_and_copies_its_tail_on_the_first_write() -> None:
    """Two holders of a partly filled page write into different ones."""
    ledger = PageLedger(8, page_slots=4)
    parent = ledger.open("", list(range(6)), 6)
    child = ledger.fork(parent, 6)
    assert child.pages == parent.pages
    copy = ledger.unshare_tail(child, 6)
    assert copy == (parent.pages[1], child.pages[1])
    assert parent.is_tail_shared
    assert ledger.unshare_tail(parent, 6) is None  # nobody else holds it any more
    ledger.check_integrity([parent, child])


def test_identical_prompts_computed_at_once_end_on_the_same_pages() -> None:
    """Who commits second exchanges its pages for the tree's."""
    ledger = PageLedger(8, page_slots=4)
    tokens = list(range(9))
    first, second = ledger.open("", tokens, 9), ledger.open("", tokens, 9)
    ledger.commit(first, tokens, 8)
    ledger.commit(second, tokens, 8)
    assert first.pages[:2] == second.pages[:2]
    ledger.check_integrity([first, second])
    assert ledger.available_pages == 8 - 4


def test_cost_is_what_opening_takes() -> None:
    """Cached pages that nobody uses are no gain: taking them makes them unavailable."""
    ledger = PageLedger(8, page_slots=4)
    tokens = list(range(12))
    holding = ledger.open("", tokens, 12)
    ledger.commit(holding, tokens, 12)
    assert ledger.cost("", tokens, 12) == 1  # two pages are in use, and shared
    ledger.close(holding)
    assert ledger.cost("", tokens, 12) == 3
    before = ledger.available_pages
    ledger.open("", tokens, 12)
    assert ledger.available_pages == before - 3


class LedgerMachine(RuleBasedStateMachine):
    """Sequences that open, grow, fork, commit and close at random."""

    @initialize()
    def start(self) -> None:
        """An empty cache."""
        self.ledger = PageLedger(PAGES, page_slots=SLOTS)
        self.live: list[
            tuple[Holding, list[int], int]
        ] = []  # with tokens and how many are computed

    @rule(
        tokens=st.lists(st.integers(0, 1), min_size=1, max_size=20),
        tenant=st.sampled_from(["", "red"]),
        priority=st.integers(-20, 19),
    )
    def open(self, tokens: list[int], tenant: str, priority: int) -> None:
        """A sequence is admitted if it fits, and costs what was said."""
        cost, before = self.ledger.cost(tenant, tokens, len(tokens)), self.ledger.available_pages
        assert self.ledger.can_open(tenant, tokens, len(tokens)) == (cost <= before)
        if cost > before:
            return
        holding = self.ledger.open(tenant, tokens, len(tokens), priority=priority)
        assert self.ledger.available_pages == before - cost
        assert len(holding.pages) == pages_for(len(tokens), SLOTS)
        computed = holding.cached_pages * SLOTS
        assert computed < len(tokens)
        self.live.append((holding, list(tokens), computed))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), token=st.integers(0, 1))
    def compute(self, data: st.DataObject, token: int) -> None:
        """A sequence computes all it knows and gets one token more."""
        index = data.draw(st.integers(0, len(self.live) - 1))
        holding, tokens, computed = self.live[index]
        while computed < len(tokens):
            if not self._make_writable(holding, computed):
                break
            computed += 1
        self.ledger.commit(holding, tokens, computed)
        self.live[index] = (
            holding,
            [*tokens, token] if computed == len(tokens) else tokens,
            computed,
        )

    def _make_writable(self, holding: Holding, computed: int) -> bool:
        missing = computed >= len(holding.pages) * SLOTS
        if (missing or holding.is_tail_shared) and not self.ledger.can_grow(1):
            return False
        if missing:
            self.ledger.grow(holding, 1)
        elif holding.is_tail_shared:
            self.ledger.unshare_tail(holding, computed)
        page = holding.pages[computed // SLOTS]
        assert self.ledger.pool.references(page) == 1, "a write would reach another holder"
        return True

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """A sequence branches where it stands."""
        holding, tokens, computed = data.draw(st.sampled_from(self.live))
        if len(holding.pages) == pages_for(computed, SLOTS):
            self.live.append((self.ledger.fork(holding, computed), list(tokens), computed))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """A sequence ends."""
        holding, _, _ = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        self.ledger.close(holding)

    @invariant()
    def is_sound(self) -> None:
        """Every page is accounted for, at every moment."""
        self.ledger.check_integrity([holding for holding, _, _ in self.live])

    def teardown(self) -> None:
        """When all have ended and the cache is dropped, every page is free."""
        for holding, _, _ in self.live:
            self.ledger.close(holding)
        assert self.ledger.available_pages == PAGES
        self.ledger.drop_cache()
        assert self.ledger.pool.free_pages == PAGES
        self.ledger.check_integrity([])


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
