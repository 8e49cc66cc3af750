"""The lock table: its books balance after any sequence of operations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lingos_kernel.errors import (
    Busy,
    Cancelled,
    Deadlock,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    UnknownLock,
)
from lingos_kernel.threads.lock_table import Decision, LockTable
from lingos_kernel.threads.waitfor import Holder


def test_a_mutex_passes_in_order_of_arrival() -> None:
    """First come, first served."""
    table = LockTable()
    table.create("a", "mutex")
    assert table.request("a", Holder(1))[1] == [(1, None)]
    assert table.request("a", Holder(2))[1] == []
    assert table.request("a", Holder(3))[1] == []
    assert table.release("a", Holder(1)) == [(2, None)]
    assert table.release("a", Holder(2)) == [(3, None)]


def test_a_writer_is_not_starved_by_readers() -> None:
    """Readers that come after a waiting writer wait behind it, and then enter together."""
    table = LockTable()
    table.create("r", "rwlock")
    table.request("r", Holder(1), shared=True)
    writer, _ = table.request("r", Holder(2))
    late = [table.request("r", Holder(pid), shared=True) for pid in (3, 4)]
    assert all(decisions == [] for _, decisions in late)
    assert table.release("r", Holder(1)) == [(writer, None)]
    assert table.release("r", Holder(2)) == [(wait_id, None) for wait_id, _ in late]


def test_a_large_request_is_not_starved_by_small_ones() -> None:
    """A semaphore's waiters are not overtaken either."""
    table = LockTable()
    table.create("s", "semaphore", units=3)
    table.request("s", Holder(1))
    large, _ = table.request("s", Holder(2), units=3)
    small, decisions = table.request("s", Holder(3))
    assert decisions == []
    assert table.release("s", Holder(1)) == [(large, None)]
    assert table.release("s", Holder(2), units=2) == [(small, None)]


def test_giving_up_lets_those_behind_pass() -> None:
    """The wait of a writer that gave up no longer holds up the readers behind it."""
    table = LockTable()
    table.create("r", "rwlock")
    table.request("r", Holder(1), shared=True)
    writer, _ = table.request("r", Holder(2))
    reader, _ = table.request("r", Holder(3), shared=True)
    assert table.give_up(writer) == (True, [(reader, None)])
    assert table.give_up(writer) == (False, [])


def test_a_barrier_opens_when_all_have_come() -> None:
    """The last party opens it for all, and it can be used again."""
    table = LockTable()
    table.create("gate", "barrier", units=2)
    for _ in range(2):
        first, none = table.request("gate", Holder(1))
        last, opened = table.request("gate", Holder(2))
        assert none == []
        assert opened == [(first, None), (last, None)]
    table.request("gate", Holder(1))
    with pytest.raises(InvalidArguments, match="already waits"):
        table.request("gate", Holder(1))


def test_a_dead_process_leaves_nothing() -> None:
    """Its waits are cancelled, its holds pass on, its unused locks vanish."""
    table = LockTable()
    table.create("a", "mutex", owner=1)
    table.create("b", "mutex", owner=1)
    table.create("c", "mutex", owner=2)
    table.request("a", Holder(1))
    table.request("c", Holder(2))
    mine, _ = table.request("c", Holder(1, "task"))
    other, _ = table.request("a", Holder(2))
    ended = dict(table.release_all(1))
    assert isinstance(ended[mine], Cancelled)
    assert ended[other] is None
    assert [row.name for row in table.rows()] == ["a", "c"], "a is still held, b is gone"
    table.release("a", Holder(2))
    assert [row.name for row in table.rows()] == ["c"]


def test_a_lock_lasts_as_long_as_any_of_its_makers() -> None:
    """Who asks to make a lock that exists keeps it, whether or not its first maker has ended."""
    table = LockTable()
    table.create("a", "mutex", owner=1)
    table.create("a", "mutex", owner=2)
    table.release_all(1)
    assert [row.name for row in table.rows()] == ["a"]
    table.request("a", Holder(3))
    table.release_all(2)
    table.create("a", "mutex", owner=4)  # while it is held, and all its makers have ended
    table.release("a", Holder(3))
    assert [row.name for row in table.rows()] == ["a"]
    table.release_all(4)
    assert table.rows() == ()


def test_a_left_over_barrier_vanishes_when_it_opens() -> None:
    """A barrier whose makers have ended serves those who wait at it, and then it is gone."""
    table = LockTable()
    table.create("gate", "barrier", units=2, owner=1)
    table.request("gate", Holder(2))
    table.release_all(1)
    assert len(table.request("gate", Holder(3))[1]) == 2
    assert table.rows() == ()


def test_rows_show_holders_and_waiters() -> None:
    """A row names pids in the order of service, and what is available."""
    table = LockTable()
    table.create("s", "semaphore", units=2)
    table.create("r", "rwlock")
    table.create("gate", "barrier", units=3)
    table.request("s", Holder(5))
    table.request("s", Holder(4))
    table.request("s", Holder(9))
    table.request("s", Holder(8))
    table.request("r", Holder(1), shared=True)
    table.request("gate", Holder(1))
    barrier, rwlock, semaphore = table.rows()
    assert (semaphore.holders, semaphore.waiters, semaphore.available) == ((4, 5), (9, 8), 0)
    assert (rwlock.holders, rwlock.available) == ((1,), 1)
    assert (barrier.waiters, barrier.available) == ((1,), 2)


def test_misuse_is_told() -> None:
    """Each wrong call names the lock and says what to do."""
    table = LockTable()
    table.create("a", "mutex")
    table.create("a", "mutex")
    with pytest.raises(InvalidArguments, match="exists with another kind"):
        table.create("a", "rwlock")
    with pytest.raises(InvalidArguments, match="needs a name"):
        table.create("", "mutex")
    with pytest.raises(UnknownLock, match="no lock is named 'b'"):
        table.request("b", Holder(1))
    with pytest.raises(InvalidArguments, match="cannot be shared"):
        table.request("a", Holder(1), shared=True)
    with pytest.raises(InvalidArguments, match="has 1 units"):
        table.request("a", Holder(1), units=2)
    with pytest.raises(NotPermitted, match="held by nobody"):
        table.release("a", Holder(1))
    table.request("a", Holder(1))
    with pytest.raises(NotPermitted, match="held by pid 1"):
        table.release("a", Holder(2))
    with pytest.raises(Busy, match="in use"):
        table.remove("a")
    table.release("a", Holder(1))
    table.remove("a")
    assert table.rows() == ()


class Locking(RuleBasedStateMachine):
    """Random tasks make locks, ask, release, give up and die; `held` says what each was granted."""

    pids = st.integers(1, 4)
    kinds = ("mutex", "rwlock", "semaphore", "barrier")
    names = st.sampled_from(kinds)

    def __init__(self) -> None:
        super().__init__()
        self.table = LockTable()
        self.makers: dict[str, set[int]] = {}
        for name in self.kinds:
            self.make(1, name)
        self.asked: dict[int, tuple[str, Holder, bool, int]] = {}
        self.held: list[tuple[str, Holder, bool, int]] = []

    def note(self, decisions: list[Decision]) -> None:
        """Each wait ends once: in a grant, or in an error."""
        for wait_id, error in decisions:
            request = self.asked.pop(wait_id)
            if error is None:
                if request[0] != "barrier":
                    self.held.append(request)
            else:
                assert isinstance(error, Deadlock | Cancelled)

    @rule(pid=pids, name=names)
    def make(self, pid: int, name: Any) -> None:
        """Its first maker makes a lock, each later one keeps it."""
        self.table.create(name, name, units=3, owner=pid)
        self.makers.setdefault(name, set()).add(pid)

    @rule(pid=pids, task=st.sampled_from(["", "x"]), name=names, shared=st.booleans(), n=pids)
    def ask(self, pid: int, task: str, name: str, shared: bool, n: int) -> None:
        """A request is granted, fails or waits; a wrong one changes nothing."""
        holder = Holder(pid, task)
        units = min(n, 3) if name == "semaphore" else 1
        shared = shared and name == "rwlock"
        # As in `request`, the id is known before its decisions are.
        try:
            wait_id, decisions = self.table.request(name, holder, shared=shared, units=units)
        except LingOSError:
            return
        self.asked[wait_id] = (name, holder, shared, units)
        self.note(decisions)

    @rule(data=st.data())
    def release(self, data: Any) -> None:
        """A grant is given back."""
        if self.held:
            request = data.draw(st.sampled_from(self.held))
            self.held.remove(request)
            name, holder, shared, units = request
            self.note(self.table.undo(name, holder, shared=shared, units=units))

    @rule(data=st.data())
    def give_up(self, data: Any) -> None:
        """A wait runs out of time."""
        if self.asked:
            wait_id = data.draw(st.sampled_from(sorted(self.asked)))
            del self.asked[wait_id]
            ended, decisions = self.table.give_up(wait_id)
            assert ended
            self.note(decisions)

    @rule(pid=pids)
    def die(self, pid: int) -> None:
        """A process ends; nothing of it is left."""
        self.held = [request for request in self.held if request[1].pid != pid]
        for makers in self.makers.values():
            makers.discard(pid)
        self.note(self.table.release_all(pid))
        for row in self.table.rows():
            assert pid not in row.holders + row.waiters

    @invariant()
    def books_balance(self) -> None:
        """No two owners, no lost wake-up, order of arrival, and the rows agree with the grants."""
        self.table.check_integrity()
        rows = {row.name: row for row in self.table.rows()}
        used = {request[0] for request in (*self.held, *self.asked.values())}
        assert set(rows) == used | {name for name, makers in self.makers.items() if makers}
        exclusive = [r for r in self.held if r[0] == "mutex" or (r[0] == "rwlock" and not r[2])]
        for name, holder, _, _ in exclusive:
            assert rows[name].holders == (holder.pid,)
            assert sum(request[0] == name for request in self.held) == 1
        for name, row in rows.items():
            assert set(row.holders) == {r[1].pid for r in self.held if r[0] == name}
            assert len(row.waiters) == sum(r[0] == name for r in self.asked.values())
        taken = sum(request[3] for request in self.held if request[0] == "semaphore")
        assert "semaphore" not in rows or rows["semaphore"].available == 3 - taken

    def teardown(self) -> None:
        """When all have died, no lock is left."""
        for pid in range(1, 5):
            self.die(pid)
        assert not self.asked
        assert not self.held
        assert self.table.rows() == ()


TestLocking = Locking.TestCase
TestLocking.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
