"""Deadlocks: found when there is one, and only then."""

from __future__ import annotations

import pytest

from lingos_kernel.errors import Deadlock, LingOSError
from lingos_kernel.threads.lock_table import LockTable
from lingos_kernel.threads.waitfor import Holder


class Desk:
    """A lock table with one-letter calls: who asks for what, and what came of it."""

    def __init__(self, **kinds: tuple[str, int]) -> None:
        self.table = LockTable()
        self.outcome: dict[int, LingOSError | None] = {}
        for name, (kind, units) in kinds.items():
            self.table.create(name, kind, units=units)  # type: ignore[arg-type]

    def ask(self, pid: int, name: str, *, shared: bool = False, units: int = 1) -> int:
        """Request; returns the id of the wait."""
        wait_id, decisions = self.table.request(name, Holder(pid), shared=shared, units=units)
        self.outcome.update(decisions)
        self.table.check_integrity()
        return wait_id

    def drop(self, pid: int, name: str) -> None:
        """Release."""
        self.outcome.update(self.table.release(name, Holder(pid)))
        self.table.check_integrity()

    def failed(self, wait_id: int) -> bool:
        """Whether the wait ended in Deadlock."""
        return isinstance(self.outcome.get(wait_id), Deadlock)

    def granted(self, wait_id: int) -> bool:
        """Whether the wait ended in a grant."""
        return wait_id in self.outcome and self.outcome[wait_id] is None


MUTEX = ("mutex", 1)


def test_two_tasks_in_opposite_order() -> None:
    """The classic: the second wait closes the cycle, fails at once, and the message prints it."""
    desk = Desk(a=MUTEX, b=MUTEX)
    desk.ask(12, "a")
    desk.ask(13, "b")
    older = desk.ask(12, "b")
    youngest = desk.ask(13, "a")
    assert desk.failed(youngest)
    assert not desk.failed(older)
    error = desk.outcome[youngest]
    assert error is not None
    assert error.message == (
        "deadlock: pid 13 waits for mutex:a held by pid 12; pid 12 waits for mutex:b held by pid 13"
    )
    assert error.details["cycle"] == [[13, "a"], [12, "b"]]
    desk.drop(13, "b")
    assert desk.granted(older), "the survivor goes on"


def test_a_ring_of_many() -> None:
    """A cycle of 50 is found and named in full."""
    desk = Desk(**{f"l{i}": MUTEX for i in range(50)})
    for pid in range(50):
        desk.ask(pid, f"l{pid}")
    waits = [desk.ask(pid, f"l{(pid + 1) % 50}") for pid in range(50)]
    assert [desk.failed(wait) for wait in waits] == [False] * 49 + [True]
    assert len(str(desk.outcome[waits[-1]]).split(";")) == 50


def test_asking_again_for_an_own_mutex() -> None:
    """A mutex is not re-entrant; the task is told at once that it waits for itself."""
    desk = Desk(a=MUTEX)
    desk.ask(1, "a")
    again = desk.ask(1, "a")
    assert "pid 1 waits for mutex:a held by pid 1" in str(desk.outcome[again])


def test_two_readers_that_both_want_to_write() -> None:
    """Upgrading a read lock deadlocks the reader at once, since it waits for itself."""
    desk = Desk(r=("rwlock", 1))
    desk.ask(1, "r", shared=True)
    desk.ask(2, "r", shared=True)
    assert desk.failed(desk.ask(1, "r"))
    assert desk.failed(desk.ask(2, "r"))


def test_a_reader_behind_a_writer_that_waits_for_it() -> None:
    """Being queued behind a waiter is waiting for it."""
    desk = Desk(r=("rwlock", 1))
    desk.ask(1, "r", shared=True)
    writer = desk.ask(2, "r")
    again = desk.ask(1, "r", shared=True)
    assert desk.failed(again)
    assert "pid 1 waits for rwlock:r behind pid 2" in str(desk.outcome[again])
    desk.drop(1, "r")
    assert desk.granted(writer)


def test_a_cycle_through_a_semaphore_with_another_holder_is_none() -> None:
    """A third party may give back a unit: a cycle alone is no deadlock until it waits too."""
    desk = Desk(s=("semaphore", 2), a=MUTEX)
    desk.ask(1, "s")
    desk.ask(3, "s")
    desk.ask(2, "a")
    wait_s = desk.ask(2, "s")
    wait_a = desk.ask(1, "a")
    assert wait_s not in desk.outcome
    assert wait_a not in desk.outcome
    closing = desk.ask(3, "a")
    assert desk.failed(closing), "now everybody who holds a unit waits for the mutex"
    desk.drop(3, "s")
    assert desk.granted(wait_s)


def test_a_long_chain_is_no_deadlock() -> None:
    """A chain of 300 waits with a free end is left alone."""
    desk = Desk(**{f"l{i}": MUTEX for i in range(301)})
    for pid in range(301):
        desk.ask(pid, f"l{pid}")
    waits = [desk.ask(pid, f"l{pid + 1}") for pid in range(300)]
    assert not any(wait in desk.outcome for wait in waits)


def test_tasks_of_one_process_are_apart() -> None:
    """A second task of the holder's process waits its turn; that is no deadlock."""
    table = LockTable()
    table.create("a", "mutex")
    table.request("a", Holder(1, "x"))
    wait_id, decisions = table.request("a", Holder(1, "y"))
    assert decisions == []
    assert table.release("a", Holder(1, "x")) == [(wait_id, None)]


def test_barriers_are_left_out() -> None:
    """Somebody may yet arrive: waiting at a barrier with a lock held is no deadlock by itself."""
    desk = Desk(a=MUTEX, gate=("barrier", 2))
    desk.ask(1, "a")
    at_gate = desk.ask(1, "gate")
    wait_a = desk.ask(2, "a")
    assert wait_a not in desk.outcome
    desk.ask(3, "gate")
    assert desk.granted(at_gate)


@pytest.mark.parametrize("pids", [(1, 2), (2, 1)])
def test_the_youngest_wait_fails(pids: tuple[int, int]) -> None:
    """Age is that of the wait, whatever the pids."""
    first, second = pids
    desk = Desk(a=MUTEX, b=MUTEX)
    desk.ask(first, "a")
    desk.ask(second, "b")
    desk.ask(first, "b")
    assert desk.failed(desk.ask(second, "a"))
