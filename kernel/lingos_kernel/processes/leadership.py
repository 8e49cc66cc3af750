"""Which kernel looks after what outlives a kernel, where several share one data folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

from filelock import FileLock, Timeout

LOOK_AGAIN_S = 1.0


class Leadership:
    """A lock that one kernel holds; the system frees it when its process ends, however that is.

    An embedded kernel beside a resident one does not lead: it submits jobs and reads results, and
    takes over when the leader has gone.
    """

    def __init__(self, path: Path) -> None:
        """`path`: the lock's file, which is made when it is first taken."""
        self._path = path
        self._lock = FileLock(path, thread_local=False)

    @property
    def is_held(self) -> bool:
        """Whether this kernel leads."""
        return self._lock.is_locked

    def try_take(self) -> bool:
        """Lead if nobody else does; whether this kernel leads."""
        if not self.is_held:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                return False
        return True

    async def take(self) -> None:
        """Lead as soon as nobody else does; looks every second."""
        while not self.try_take():  # noqa: ASYNC110  another process frees it, and tells nobody
            await asyncio.sleep(LOOK_AGAIN_S)

    def release(self) -> None:
        """Let another kernel lead."""
        self._lock.release()
