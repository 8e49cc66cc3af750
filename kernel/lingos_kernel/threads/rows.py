"""What threads and locks look like at one moment; the snapshot takes these fields as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ThreadState:
    """One thread of a pool; the fields of `telemetry.snapshot.ThreadRow`, in its order."""

    name: str
    state: str
    """idle, running, blocked, or abandoned: its call timed out, its function still runs."""
    syscall: str
    pid: int
    waiting_on: str
    frame: str
    """file:line function, of the innermost frame; empty when the thread runs no task."""
    cpu_s: float
    busy_s: float


@dataclass(frozen=True, slots=True)
class LockState:
    """One named lock; the fields of `telemetry.snapshot.LockRow`, in its order."""

    name: str
    kind: str
    """mutex, rwlock, semaphore, barrier."""
    holders: tuple[int, ...]
    """Pids."""
    waiters: tuple[int, ...]
    """Pids, in the order in which they will be served."""
    available: int
    """Mutex: 1 when free. Rwlock: 1 when a reader could enter. Semaphore: units left. Barrier:
    parties still missing."""
