"""Who stays in memory and who gives way, decided on one budget."""

from __future__ import annotations

import pytest

from lingos_kernel.memory.weights import Evict, Fits, Refuse, Reservation, Wait, Weights


def weights(budget: int = 100, **sizes: int) -> Weights:
    """A budget with ready, idle models of so many bytes, the first one used longest ago."""
    made = Weights(budget)
    for now_s, (name, size) in enumerate(sizes.items()):
        made.on_loaded(name, size, float(now_s))
    return made


def test_without_a_known_budget_everything_fits() -> None:
    """A driver that tells nothing of its memory is asked for anything."""
    assert Weights().make_room("b", 10**15, "", 0.0) == Fits(0)


def test_what_fits_beside_the_others_takes_what_is_left() -> None:
    """The room is all that the budget has left, for the KV pool may be larger than the least."""
    assert weights(a=30).make_room("b", 40, "", 9.0) == Fits(70)


def test_the_least_recently_used_idle_model_goes_first() -> None:
    """Being used counts, not being loaded."""
    made = weights(a=40, b=40)
    assert made.make_room("c", 50, "", 9.0) == Evict(("a",))
    made.use("a", "r", 5.0)
    made.leave("a", "r", 6.0)
    assert made.make_room("c", 50, "", 9.0) == Evict(("b",))


def test_no_more_go_than_must() -> None:
    """A small model that was not used for long stays when a larger one must go anyway."""
    assert weights(small=10, large=80).make_room("c", 85, "", 9.0) == Evict(("large",))


def test_a_model_in_use_is_waited_for() -> None:
    """It is not unloaded, and idle ones are not unloaded in vain."""
    made = weights(a=60, b=30)
    made.use("a", "r", 5.0)
    assert made.make_room("c", 70, "", 9.0) == Wait(("a",), is_certain=False)
    made.leave("a", "r", 6.0)
    assert made.make_room("c", 70, "", 9.0) == Evict(("a",))


def test_a_model_with_stopped_requests_alone_can_go_after_the_idle_ones() -> None:
    """One that goes on, or ends, keeps or frees it as ever."""
    made = weights(a=45, b=45)
    made.use("a", "r", 5.0)
    made.hold("a", "r", 5.5, is_held=True)
    made.use("b", "s", 6.0)
    made.leave("b", "s", 7.0)
    assert made.make_room("c", 50, "", 9.0) == Evict(("b",))
    assert made.make_room("c", 90, "", 9.0) == Evict(("b", "a"))
    made.hold("a", "r", 8.0, is_held=False)
    assert made.make_room("c", 90, "", 9.0) == Wait(("b", "a"), is_certain=False)
    made.hold("a", "stranger", 8.0, is_held=True)
    made.hold("a", "r", 8.0, is_held=True)
    made.leave("a", "r", 8.5)
    assert made.residents["a"].held == set()


def test_what_is_on_its_way_in_or_out_is_waited_for() -> None:
    """Nothing else is put out meanwhile."""
    made = weights(a=60, b=30)
    made.on_leaving("a")
    assert made.make_room("c", 50, "", 9.0) == Wait(("a",), is_certain=True)
    made.on_gone("a")
    assert made.make_room("c", 50, "", 9.0) == Fits(70)
    made.on_loading("c", 70, "", 9.0)
    assert made.make_room("d", 20, "", 9.0) == Wait(("c",), is_certain=True)
    made.on_loaded("c", 40, 9.0)
    assert made.make_room("d", 20, "", 9.0) == Fits(30)


def test_what_can_never_fit_is_refused_with_the_sums() -> None:
    """More than the budget, whoever ends."""
    room = weights(100 * 2**20).make_room("b", 130 * 2**20, "", 0.0)
    assert room == Refuse("b needs 130.0 MiB at least, and the budget M is 100.0 MiB")


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_pinned_model_does_not_give_way(is_busy: bool) -> None:
    """Who needs its room is refused, busy or idle, and told of the pin."""
    made = weights(100 * 2**20, a=60 * 2**20)
    made.pinned.add("a")
    if is_busy:
        made.use("a", "r", 1.0)
    room = made.make_room("b", 50 * 2**20, "", 9.0)
    assert isinstance(room, Refuse)
    assert "of which a (60.0 MiB) pinned or reserved" in room.sums
    made.pinned.clear()
    assert not isinstance(made.make_room("b", 50 * 2**20, "", 9.0), Refuse)


def test_a_reserved_model_stays_until_the_time_is_over() -> None:
    """It is in use by nobody and stays all the same."""
    made = weights(a=60)
    made.reserve(Reservation("ann", until_s=20.0, model="a"))
    assert isinstance(made.make_room("b", 50, "bob", 19.0), Refuse)
    assert made.make_room("b", 50, "bob", 20.0) == Evict(("a",))


def test_reserved_bytes_are_there_for_their_tenant_alone() -> None:
    """They shrink by what the tenant's own models take, which others cannot put out then."""
    made = weights()
    made.reserve(Reservation("ann", until_s=99.0, bytes=70))
    assert isinstance(made.make_room("b", 40, "bob", 1.0), Refuse)
    assert made.make_room("a", 60, "ann", 1.0) == Fits(100)
    made.on_loading("a", 60, "ann", 1.0)
    made.on_loaded("a", 60, 1.0)
    assert made.make_room("b", 30, "bob", 2.0) == Fits(30)
    assert isinstance(made.make_room("b", 40, "bob", 2.0), Refuse)
    assert made.release("ann", "")
    assert made.make_room("b", 50, "bob", 2.0) == Evict(("a",))


def test_an_idle_model_expires() -> None:
    """After its own time to live, else that of all; not while it is used, pinned or reserved."""
    made = Weights(100, idle_unload_s=10.0)
    for name in ("a", "b", "c", "d"):
        made.on_loaded(name, 10, 0.0)
    made.ttl_s["b"] = 0.0
    made.pinned.add("c")
    made.use("d", "r", 0.0)
    assert made.next_expiry_s(5.0) == 10.0
    assert made.expired(9.9) == []
    assert made.expired(10.0) == ["a"]
    made.reserve(Reservation("ann", 30.0, "a"))
    assert made.expired(20.0) == []
    assert made.next_expiry_s(20.0) == 30.0
    assert made.expired(30.0) == ["a"]
    made.leave("d", "r", 50.0)
    assert made.expired(59.0) == ["a"]
    assert made.expired(60.0) == ["a", "d"]


def test_releasing_what_is_not_reserved_says_so() -> None:
    """And a new reservation of the same replaces the old."""
    made = weights(a=10)
    assert not made.release("ann", "a")
    made.reserve(Reservation("ann", 10.0, "a"))
    made.reserve(Reservation("ann", 5.0, "a"))
    assert made.reservation("a", 6.0) is None
