"""Who is with the kernel: connections and exchanges; what idle exit and draining go by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Presence:
    """Counts connections and exchanges, and remembers when the last one ended."""

    def __init__(self, clock: Callable[[], float], closing: asyncio.Event) -> None:
        """`clock` gives monotonic seconds; `closing` is set when nothing new shall begin."""
        self._clock = clock
        self._connections = 0
        self._exchanges = 0
        self._left_s = clock()
        self._empty = asyncio.Event()
        self._empty.set()
        self.closing = closing

    @property
    def absent_s(self) -> float:
        """For how long nobody has been connected; 0 while somebody is."""
        return 0.0 if self._connections else self._clock() - self._left_s

    def connected(self) -> None:
        """A client connected."""
        self._connections += 1

    def disconnected(self) -> None:
        """A client left."""
        self._connections -= 1
        self._left_s = self._clock()

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """One call of a client, which draining waits for."""
        self._exchanges += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._exchanges -= 1
            if not self._exchanges:
                self._empty.set()

    async def drained(self, timeout_s: float) -> bool:
        """Wait for the exchanges to end; whether they did so in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
