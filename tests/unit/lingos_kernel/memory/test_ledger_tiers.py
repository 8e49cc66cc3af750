"""The ledger over tiers: what comes up is what went down, for the same tokens of the same tenant.

The pages of these tests have contents: the tokens that were computed into them.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lingos_kernel.memory.ledger import Holding, PageLedger
from lingos_kernel.memory.prefix_keys import PrefixKeys
from lingos_kernel.memory.tier_index import TierIndex

SLOTS = 2
PAGES = 10
Content = tuple[str, tuple[int, ...]]
"""Namespace and all tokens up to the page's last: what keys and values depend on."""


class ListedTier:
    """A lower tier that keeps contents in a dict, bounded; reading can be made to fail."""

    def __init__(self, contents: list[Content | None], slots: int) -> None:
        self.contents = contents
        self.index = TierIndex(slots)
        self.rows: dict[bytes, Content | None] = {}
        self.is_worth = True
        self.broken = 0
        """So many of the next reads fail."""
        self.restored = 0

    def is_spill_cheaper(self) -> bool:
        """As told."""
        return self.is_worth

    def lower(self, keys: Sequence[bytes], pages: Sequence[int], priority: int) -> None:
        """Keep what the pages hold now."""
        for key, page in zip(keys, pages, strict=True):
            if key in self.index:
                assert self.rows[key] == self.contents[page], "one key, two contents"
            elif self.is_worth and (placed := self.index.put(key, priority)):
                self.rows[key] = self.contents[page]
                if placed.evicted:
                    del self.rows[placed.evicted.key]

    def find(self, keys: Sequence[bytes], priority: int) -> int:
        """How many of the first are here."""
        found = next((i for i, key in enumerate(keys) if key not in self.index), len(keys))
        for key in keys[:found]:
            self.index.touch(key, priority)
        return found

    def restore(self, keys: Sequence[bytes], pages: Sequence[int]) -> int:
        """Write contents into pages, until one cannot be read."""
        for done, (key, page) in enumerate(zip(keys, pages, strict=True)):
            if self.broken or key not in self.index:
                self.broken = max(self.broken - 1, 0)
                return done
            self.contents[page] = self.rows[key]
            self.restored += 1
        return len(keys)

    def clear(self) -> None:
        """Forget all."""
        self.index.clear()
        self.rows.clear()

    def check_integrity(self) -> None:
        """As the index."""
        self.index.check_integrity()
        assert {entry.key for entry in self.index} == set(self.rows)


def make(slots: int = 6) -> tuple[PageLedger, ListedTier]:
    """An empty ledger over an empty tier."""
    contents: list[Content | None] = [None] * PAGES
    tier = ListedTier(contents, slots)
    return PageLedger(PAGES, page_slots=SLOTS, keys=PrefixKeys("m"), tiers=tier), tier


def compute(ledger: PageLedger, tier: ListedTier, holding: Holding, tokens: list[int]) -> None:
    """Fill all full pages of a holding that are not cached, and enter them into the tree."""
    for index in range(holding.cached_pages, len(tokens) // SLOTS):
        upto = tuple(tokens[: (index + 1) * SLOTS])
        tier.contents[holding.pages[index]] = (holding_namespace(holding), upto)
    ledger.commit(holding, tokens, len(tokens))


def holding_namespace(holding: Holding) -> str:
    """Where it is in the tree."""
    node = holding.node
    while node.parent is not None:
        node = node.parent
    return node.namespace


def test_an_evicted_prefix_comes_back_from_below() -> None:
    """Pages that the tree had to give up need not be computed again."""
    ledger, tier = make()
    tokens = [1, 2, 3, 4, 5]
    first = ledger.open("red", tokens, 5)
    compute(ledger, tier, first, tokens)
    ledger.close(first)
    other = ledger.open("red", [9] * 20, 20)  # takes all pages
    ledger.close(other)
    assert ledger.tree.peek("red", tokens) == (0, 0)
    again = ledger.open("red", tokens, 5)
    assert again.cached_pages == 2
    assert [tier.contents[page] for page in again.pages[:2]] == [
        ("red", (1, 2)),
        ("red", (1, 2, 3, 4)),
    ]
    ledger.check_integrity([again])
    blue = ledger.open("blue", tokens, 5)
    assert blue.cached_pages == 0


def test_dropping_the_cache_drops_the_tiers() -> None:
    """What is asked to be forgotten is forgotten everywhere."""
    ledger, tier = make()
    holding = ledger.open("", [1, 2, 3], 3)
    compute(ledger, tier, holding, [1, 2, 3])
    ledger.close(holding)
    tier.lower([b"k"], [0], 0)
    ledger.drop_cache()
    assert not tier.rows
    assert ledger.pool.free_pages == PAGES


def test_runs_name_the_beginning_before_what_continues_it() -> None:
    """All cached pages with their keys, each prefix before its continuations."""
    ledger, tier = make()
    for tail in (5, 6):
        tokens = [1, 2, 3, 4, tail, tail, 9]
        holding = ledger.open("", tokens, 7)
        compute(ledger, tier, holding, tokens)
        ledger.close(holding)
    runs = ledger.runs()
    assert [len(run.pages) for run in runs] == [2, 1, 1]
    keys = PrefixKeys("m")
    assert runs[0].keys == keys.chain(keys.root(""), [[1, 2], [3, 4]])
    assert runs[1].keys == keys.chain(runs[0].keys[-1], [[6, 6]])


class TieredMachine(RuleBasedStateMachine):
    """Sequences come and go over a small tier that forgets, refuses and breaks."""

    @initialize()
    def start(self) -> None:
        """Nothing anywhere."""
        self.ledger, self.tier = make()
        self.live: list[tuple[Holding, list[int]]] = []

    @rule(
        tokens=st.lists(st.integers(0, 1), min_size=1, max_size=12),
        tenant=st.sampled_from(["", "red"]),
        priority=st.integers(-2, 2),
    )
    def run(self, tokens: list[int], tenant: str, priority: int) -> None:
        """A sequence is admitted, finds what it may find, and computes the rest."""
        cost, before = self.ledger.cost(tenant, tokens, len(tokens)), self.ledger.available_pages
        if cost > before:
            return
        holding = self.ledger.open(tenant, tokens, len(tokens), priority=priority)
        assert self.ledger.available_pages == before - cost
        for index in range(holding.cached_pages):
            expected = (tenant, tuple(tokens[: (index + 1) * SLOTS]))
            assert self.tier.contents[holding.pages[index]] == expected
        compute(self.ledger, self.tier, holding, tokens)
        self.live.append((holding, tokens))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """A sequence ends."""
        holding, _ = self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))
        self.ledger.close(holding)

    @rule(is_worth=st.booleans(), broken=st.integers(0, 2))
    def disturb(self, is_worth: bool, broken: int) -> None:
        """Going down is worth it or not; some reads will fail."""
        self.tier.is_worth, self.tier.broken = is_worth, broken

    @invariant()
    def is_sound(self) -> None:
        """Every page is accounted for, and the tree's pages hold what it says."""
        self.ledger.check_integrity([holding for holding, _ in self.live])
        for holding, tokens in self.live:
            for index in range(holding.cached_pages):
                content = self.tier.contents[holding.pages[index]]
                assert content is not None
                assert content[1] == tuple(tokens[: (index + 1) * SLOTS])


TestTiered = TieredMachine.TestCase
