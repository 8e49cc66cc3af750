"""A tier's slots: none lost, none doubled, and the least urgent page leaves first."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lingos_kernel.memory.tier_index import TierIndex

SLOTS = 5
keys = st.binary(min_size=1, max_size=1)
priorities = st.integers(-2, 2)


def test_a_full_tier_gives_up_the_least_urgent_and_least_recently_used() -> None:
    """Urgency decides before age; the slot of who leaves is taken over."""
    index = TierIndex(3)
    for key, priority in ((b"a", 0), (b"b", 5), (b"c", 5)):
        assert index.put(key, priority)
    index.touch(b"b", 5)
    placed = index.put(b"d", 0)
    assert placed is not None
    assert placed.evicted is not None
    assert placed.evicted.key == b"c"
    assert placed.entry.slot == placed.evicted.slot


def test_a_full_tier_refuses_what_is_less_urgent_than_all_it_has() -> None:
    """Nobody's page leaves for the page of work that is less urgent."""
    index = TierIndex(1)
    index.put(b"a", 0)
    assert index.put(b"b", 1) is None
    assert b"a" in index


def test_what_an_earlier_life_left_is_taken_over_in_its_order() -> None:
    """Slots stay, doubles and slots out of range are passed over, gaps are free."""
    index = TierIndex(4)
    index.fill([(b"b", 3, 0), (b"a", 1, 0), (b"a", 0, 0), (b"x", 9, 0), (b"y", 1, 0)])
    index.check_integrity()
    assert {entry.key: entry.slot for entry in index} == {b"a": 1, b"b": 3}
    assert {index.put(key, 0).entry.slot for key in (b"c", b"d")} == {0, 2}  # type: ignore[union-attr]
    placed = index.put(b"e", 0)
    assert placed is not None
    assert placed.evicted is not None
    assert placed.evicted.key == b"b"


class IndexMachine(RuleBasedStateMachine):
    """Pages that come, are used and leave at random, beside a plain model."""

    @initialize()
    def start(self) -> None:
        """An empty tier."""
        self.index = TierIndex(SLOTS)
        self.model: dict[bytes, tuple[int, int]] = {}  # priority, time of use
        self.now = 0

    def _used(self, key: bytes, priority: int) -> None:
        self.now += 1
        self.model[key] = (priority, self.now)

    @rule(key=keys, priority=priorities)
    def put(self, key: bytes, priority: int) -> None:
        """A page comes, or is used when it is here."""
        if key in self.model:
            self.index.touch(key, priority)
            self._used(key, priority)
            return
        placed = self.index.put(key, priority)
        if len(self.model) == SLOTS:
            least = min(self.model, key=lambda k: (-self.model[k][0], self.model[k][1]))
            if self.model[least][0] < priority:
                assert placed is None
                return
            assert placed is not None
            assert placed.evicted is not None
            assert placed.evicted.key == least
            del self.model[least]
        assert placed is not None
        self._used(key, priority)

    @rule(key=keys)
    def remove(self, key: bytes) -> None:
        """A page is forgotten."""
        if self.model.pop(key, None):
            self.index.remove(key)

    @rule()
    def clear(self) -> None:
        """All are."""
        self.index.clear()
        self.model.clear()

    @invariant()
    def is_sound(self) -> None:
        """It holds what the model holds, in slots of their own."""
        self.index.check_integrity()
        assert {entry.key for entry in self.index} == set(self.model)
        assert len(self.index) == len(self.model)


TestIndex = IndexMachine.TestCase
