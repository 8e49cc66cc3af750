"""A clock for tests."""

from __future__ import annotations


class FakeClock:
    """Call it for the time in seconds; it stands still until `advance`."""

    def __init__(self, time_s: float = 0.0) -> None:
        self.time_s = time_s

    def __call__(self) -> float:
        """The time in seconds."""
        return self.time_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time_s += seconds
