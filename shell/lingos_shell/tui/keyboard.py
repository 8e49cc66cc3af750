"""Keys go first: what draws for long does it in pieces, and waits while somebody types."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

ECHO_S = 0.015
"""So long after a key nothing else is drawn: by then it stands on the screen."""
Breathe = Callable[[], Awaitable[None]]
"""Is awaited between two pieces of long work."""


async def at_once() -> None:
    """Go on as soon as the loop has done what it had to do."""
    await asyncio.sleep(0)


class Keyboard:
    """When the last key came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pressed_s = float("-inf")

    def pressed(self) -> None:
        """A key has come."""
        self._pressed_s = self._clock()

    def is_in_use(self, within_s: float) -> bool:
        """Whether a key has come in the last seconds."""
        return self._clock() - self._pressed_s < within_s

    async def breathe(self) -> None:
        """A key that came a moment ago is shown first."""
        await asyncio.sleep(max(0.0, self._pressed_s + ECHO_S - self._clock()))
