"""Which kernel looks after what outlives a kernel, where several share one data folder."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from lingos_kernel.errors import LingOSError

LOOK_AGAIN_S = 1.0


class Leadership:
    """A lock that one kernel holds; the system frees it when its process ends, however that is.

    An embedded kernel beside a resident one does not lead: it submits jobs and reads results, and
    takes over when the leader has gone.
    """

    def __init__(self, path: Path) -> None:
        """`path`: the lock's file, which is made when it is first taken."""
        self._path = path
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this kernel leads."""
        return self._file is not None

    def try_take(self) -> bool:
        """Lead if nobody else does; whether this kernel leads. Raises `LingOSError`."""
        if self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise LingOSError(
                    f"the lock {self._path} cannot be made: {error.strerror}",
                    hint="check the folder's permissions and its free space",
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            self._file = file
        return True

    async def take(self) -> None:
        """Lead as soon as nobody else does; looks every second."""
        while not self.try_take():  # noqa: ASYNC110  another process frees it, and tells nobody
            await asyncio.sleep(LOOK_AGAIN_S)

    def release(self) -> None:
        """Let another kernel lead; no effect when this one does not."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
