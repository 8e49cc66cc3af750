"""How many inferences a KV pool takes at a time: N = M // C, with C as it was measured."""

from __future__ import annotations

import math
from collections import deque

WINDOW = 64
"""Inferences over which C is a mean."""
LEAST = 8
"""Before so many have ended nothing is held back."""


class Admission:
    """Keeps the load L = N_running x C / M of one model's KV pool at or below 1.

    M and C are counted in pages. C is the mean of what the latest inferences held while they ran,
    less the pages that they had found in the prefix tree: those are shared. So N of them that
    began at different times fill the pool, and a crowd that begins at one time is held back before
    it outgrows the pool. A model's weights stand on both sides of N = M // C (M = W + pool,
    C = W / N + pages) and cancel out.
    """

    def __init__(self, pages: int) -> None:
        """`pages` are those of the pool: M."""
        self._pages = pages
        self._ended: deque[float] = deque(maxlen=WINDOW)
        self._mean = 0.0
        self._ceiling = math.inf
        """Above it the device itself ran out of memory."""

    def observe(self, pages: float) -> None:
        """An inference has ended that held so many pages of its own, in the mean."""
        self._ended.append(pages)
        self._mean = sum(self._ended) / len(self._ended)

    @property
    def pages_per_inference(self) -> float:
        """C, at least one page; 0 while too few inferences have ended to tell."""
        if len(self._ended) < LEAST:
            return 0.0
        return max(self._mean, 1.0)

    def on_overflow(self, running: int) -> None:
        """The device had no memory for a step of so many: fewer run until some have ended."""
        self._ceiling = max(running - 1, 1)

    def on_ended(self) -> None:
        """One of those that ran has ended: one more may be tried."""
        self._ceiling += 1

    def limit(self, most: int) -> int:
        """How many may run at a time: N, at least 1 and no more than `most`."""
        most = int(min(most, self._ceiling))
        each = self.pages_per_inference
        return max(min(most, int(self._pages / each)), 1) if each else most
