"""Locks that processes share: whoever changes a model holds the lock of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lingos_kernel.errors import ModelError
from lingos_kernel.models.progress import Meter

ALIASES = "aliases"
"""The lock for moving aliases between models; taken before a model's own."""
POLL_S = 0.1


@contextmanager
def hold_lock(root: Path, name: str, meter: Meter) -> Iterator[None]:
    """Hold the lock of a name; waits for other processes, and can be cancelled meanwhile."""
    is_first = True
    while True:
        with try_lock(root, name, timeout_s=0.0 if is_first else POLL_S) as is_mine:
            if is_mine:
                yield
                return
        if is_first:
            meter.begin("waiting")
        meter.check()
        is_first = False


@contextmanager
def try_lock(root: Path, name: str, *, timeout_s: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a name if it is free within the time; says whether it was.

    The system frees it when the process ends, however that happens. Raises ModelError where the
    store may not be written.
    """
    from filelock import FileLock, Timeout

    locks = root / ".locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{name}.lock")
        lock.acquire(timeout=timeout_s)
    except Timeout:
        yield False
        return
    except PermissionError as error:
        raise ModelError(
            f"the model store {root} cannot be written: {error.strerror}",
            hint="check its owner, or put the store elsewhere (setting models.store)",
        ) from error
    try:
        yield True
    finally:
        lock.release()
