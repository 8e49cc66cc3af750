"""Named locks as a pure state machine: requests go in, grants and failures come out.

Every lock but the barrier is a number of units. A request takes some and waits while too few are
free: a mutex has 1 unit; a semaphore as many as it was made with; of a rwlock's MANY units a
reader takes one and a writer all. Requests are served strictly in order of arrival, none overtakes,
so neither writers nor large requests starve. A barrier grants all its waiters at once when as many
have arrived as it has parties.

Holders are tasks of processes. No lock is re-entrant: a task that asks again for the mutex that it
holds waits for itself, and is told so at once by `Deadlock`. (Count re-entry in your own program;
a lock that opens for its own process protects nothing between that process's parallel calls.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, NamedTuple

from lingos_kernel.errors import (
    Busy,
    Cancelled,
    Deadlock,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    UnknownLock,
)
from lingos_kernel.threads.rows import LockState
from lingos_kernel.threads.waitfor import Holder, Wait, describe, find_cycle

LockKind = Literal["mutex", "rwlock", "semaphore", "barrier"]

MANY = 1 << 30
"""Units of a rwlock: more readers than there can be."""


class Decision(NamedTuple):
    """A wait has ended: granted, or failed with `error`."""

    wait_id: int
    error: LingOSError | None


@dataclass(slots=True)
class Lock:
    """One named lock. Between calls: free + sum(held) == units, and the queue's first does not fit.

    A barrier's `units` are its parties; it has no holders.
    """

    name: str
    kind: LockKind
    units: int
    owners: set[int]
    """Pids of all who asked to make it, 0: nobody in particular. The last of them to end takes it
    along, as soon as nobody uses it."""
    free: int = 0
    held: dict[Holder, int] = field(default_factory=dict)
    queue: list[Wait] = field(default_factory=list)

    @property
    def label(self) -> str:
        """kind:name, as messages show it."""
        return f"{self.kind}:{self.name}"

    @property
    def is_left_over(self) -> bool:
        """Whether its makers have ended and nobody uses it."""
        return not (self.owners or self.held or self.queue)

    def row(self) -> LockState:
        """The lock as the snapshot shows it."""
        available = {
            "rwlock": int(self.free > 0 and not self.queue),
            "barrier": self.units - len(self.queue),
        }.get(self.kind, self.free)
        holders = tuple(sorted({holder.pid for holder in self.held}))
        waiters = tuple(wait.holder.pid for wait in self.queue)
        return LockState(self.name, self.kind, holders, waiters, available)


class LockTable:
    """All named locks, who holds what and who waits; not thread-safe, see `locks.Locks`."""

    def __init__(self) -> None:
        self._locks: dict[str, Lock] = {}
        self._waits: dict[int, Wait] = {}
        self._waits_of: dict[Holder, list[Wait]] = {}
        self._ids = count(1)

    def create(self, name: str, kind: LockKind, *, units: int = 1, owner: int = 0) -> None:
        """Make a lock; the same one again gets one more owner, another kind or size is refused.

        `units`: a semaphore's units or a barrier's parties. Raises InvalidArguments.
        """
        if not name or units < 1:
            raise InvalidArguments("a lock needs a name and at least one unit or party")
        units = {"mutex": 1, "rwlock": MANY}.get(kind, units)
        lock = self._locks.get(name)
        if lock is None:
            self._locks[name] = Lock(name, kind, units, {owner}, free=units)
        elif (lock.kind, lock.units) != (kind, units):
            raise InvalidArguments(
                f"{lock.label} exists with another kind or size", hint="choose another name"
            )
        else:
            lock.owners.add(owner)

    def remove(self, name: str) -> None:
        """Take away an unused lock. Raises UnknownLock, or Busy while it is held or waited for."""
        lock = self._lock(name)
        if lock.held or lock.queue:
            raise Busy(f"{lock.label} is in use", hint="release it first")
        del self._locks[name]

    def request(
        self, name: str, holder: Holder, *, shared: bool = False, units: int = 1
    ) -> tuple[int, list[Decision]]:
        """Ask for a lock: the id of the wait, and the waits that ended by asking (perhaps this).

        Raises UnknownLock, InvalidArguments.
        """
        lock = self._lock(name)
        wait = Wait(next(self._ids), lock.name, holder, _units(lock, shared, units))
        if lock.kind == "barrier" and any(other.holder == holder for other in lock.queue):
            raise InvalidArguments(f"{holder} already waits at {lock.label}")
        lock.queue.append(wait)
        self._waits[wait.wait_id] = wait
        self._waits_of.setdefault(holder, []).append(wait)
        decisions = self._serve(lock)
        return wait.wait_id, decisions + self._break_deadlocks([holder])

    def release(self, name: str, holder: Holder, *, units: int | None = None) -> list[Decision]:
        """Give back what the holder holds (by default: what one acquire took).

        Raises UnknownLock, and NotPermitted when it does not hold that much.
        """
        lock = self._lock(name)
        held = lock.held.get(holder, 0)
        if units is None:
            units = lock.units if held == lock.units else 1
        if not 1 <= units <= held:
            holders = ", ".join(map(str, lock.held)) or "nobody"
            raise NotPermitted(
                f"{holder} does not hold {lock.label}", hint=f"held by {holders}", lock=name
            )
        self._take_back(lock, holder, units)
        return self._serve(lock)

    def undo(self, name: str, holder: Holder, *, shared: bool, units: int) -> list[Decision]:
        """Release what such a request was granted; no change when it is no longer held."""
        lock = self._locks.get(name)
        if lock is None or lock.held.get(holder, 0) < (taken := _units(lock, shared, units)):
            return []
        return self.release(name, holder, units=taken)

    def give_up(self, wait_id: int) -> tuple[bool, list[Decision]]:
        """End a wait without a grant; False when it had already ended."""
        wait = self._waits.get(wait_id)
        if wait is None:
            return False, []
        lock = self._locks[wait.lock]
        self._forget(lock, wait)
        return True, self._serve(lock)

    def release_all(self, pid: int) -> list[Decision]:
        """The process is gone: its waits end in Cancelled, its holds are given back.

        Locks of which it was the last owner vanish as soon as nobody uses them.
        """
        decisions = []
        for lock in list(self._locks.values()):
            for wait in [wait for wait in lock.queue if wait.holder.pid == pid]:
                self._forget(lock, wait)
                error = Cancelled(f"pid {pid} ended while it waited for {lock.label}")
                decisions.append(Decision(wait.wait_id, error))
            for holder in [holder for holder in lock.held if holder.pid == pid]:
                self._take_back(lock, holder, lock.held[holder])
            lock.owners.discard(pid)
        for lock in list(self._locks.values()):
            decisions += self._serve(lock)
        return decisions

    def explain(self, name: str) -> str:
        """kind:name and who holds it, for messages."""
        lock = self._lock(name)
        held = ", ".join(map(str, lock.held))
        return f"{lock.label} held by {held}" if held else lock.label

    def rows(self) -> tuple[LockState, ...]:
        """Every lock, by name."""
        return tuple(self._locks[name].row() for name in sorted(self._locks))

    def check_integrity(self) -> None:
        """Raise AssertionError unless every lock's books balance and nobody waits needlessly."""
        waits = {wait.wait_id for lock in self._locks.values() for wait in lock.queue}
        assert waits == set(self._waits), "a wait is lost"
        assert waits == {w.wait_id for ws in self._waits_of.values() for w in ws}
        for lock in self._locks.values():
            assert not lock.is_left_over, lock
            assert all(units > 0 for units in lock.held.values()), lock
            assert 0 <= lock.free == lock.units - sum(lock.held.values()), lock
            ids = [wait.wait_id for wait in lock.queue]
            assert ids == sorted(ids), "not in order of arrival"
            if lock.kind == "barrier":
                assert len(lock.queue) < lock.units, "a full barrier did not open"
            else:
                assert not lock.queue or lock.queue[0].units > lock.free, "a lost wake-up"

    def _lock(self, name: str) -> Lock:
        try:
            return self._locks[name]
        except KeyError:
            raise UnknownLock(f"no lock is named {name!r}", hint="create it first") from None

    def _serve(self, lock: Lock) -> list[Decision]:
        """Grant what fits now; a lock that is left over vanishes."""
        decisions = self._grant(lock)
        if lock.is_left_over:
            self._locks.pop(lock.name, None)
        return decisions

    def _grant(self, lock: Lock) -> list[Decision]:
        """Grant from the front of the queue whatever fits."""
        granted: list[Wait] = []
        if lock.kind == "barrier":
            if len(lock.queue) == lock.units:
                granted = list(lock.queue)
        else:
            free = lock.free
            for wait in lock.queue:
                if wait.units > free:
                    break
                free -= wait.units
                granted.append(wait)
        for wait in granted:
            self._forget(lock, wait)
            if lock.kind != "barrier":
                lock.free -= wait.units
                lock.held[wait.holder] = lock.held.get(wait.holder, 0) + wait.units
        decisions = [Decision(wait.wait_id, None) for wait in granted]
        # A holder that still waits elsewhere may have closed a cycle by what it now holds.
        return decisions + self._break_deadlocks([wait.holder for wait in granted])

    def _break_deadlocks(self, holders: Iterable[Holder]) -> list[Decision]:
        """Fail the youngest wait of each cycle that runs through one of the holders."""
        decisions = []
        for holder in holders:
            while holder in self._waits_of and (
                cycle := find_cycle(holder, self._locks, self._waits_of)
            ):
                victim = max((link.wait for link in cycle), key=lambda wait: wait.wait_id)
                labels = [self._locks[link.wait.lock].label for link in cycle]
                error = Deadlock(
                    f"deadlock: {describe(cycle, labels)}",
                    hint="release what you hold, then take the locks in one order everywhere",
                    cycle=[[link.wait.holder.pid, link.wait.lock] for link in cycle],
                )
                lock = self._locks[victim.lock]
                self._forget(lock, victim)
                decisions += [Decision(victim.wait_id, error), *self._serve(lock)]
        return decisions

    def _take_back(self, lock: Lock, holder: Holder, units: int) -> None:
        lock.free += units
        lock.held[holder] -= units
        if not lock.held[holder]:
            del lock.held[holder]

    def _forget(self, lock: Lock, wait: Wait) -> None:
        lock.queue.remove(wait)
        del self._waits[wait.wait_id]
        waits = self._waits_of[wait.holder]
        waits.remove(wait)
        if not waits:
            del self._waits_of[wait.holder]


def _units(lock: Lock, shared: bool, units: int) -> int:
    """How many units a request takes. Raises InvalidArguments."""
    if shared and lock.kind != "rwlock":
        raise InvalidArguments(f"{lock.label} cannot be shared", hint="make a rwlock")
    if lock.kind == "rwlock":
        return 1 if shared else lock.units
    if not 1 <= units <= lock.units:
        raise InvalidArguments(f"{lock.label} has {lock.units} units; {units} were asked for")
    return units
