"""When to bring a dead engine back, and when to stop trying: pure decisions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Bounds on bringing an engine back."""

    max_crashes: int = 5
    """So many crashes within `window_s`, and it is given up."""
    window_s: float = 60.0
    first_delay_s: float = 0.1
    """Before the second restart within the window; the first is at once, each later one waits
    twice as long."""
    max_delay_s: float = 5.0
    cool_down_s: float = 30.0
    """After giving up, how long requests are refused before one may try again."""
    suspect_crashes: int = 2
    """A request in flight in so many consecutive crashes, without progress, is sent alone."""
    poison_crashes: int = 3
    """One in flight in so many fails."""
    start_timeout_s: float = 120.0


class Supervisor:
    """Counts the crashes of an engine and decides what follows; the caller tells the time."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self._crashes: list[float] = []
        self._gave_up_at: float | None = None

    def on_crash(self, now_s: float) -> float | None:
        """Seconds to wait before the restart; None: give up."""
        self._crashes = [t for t in self._crashes if now_s - t < self.policy.window_s] + [now_s]
        if len(self._crashes) >= self.policy.max_crashes:
            self._gave_up_at = now_s
            return None
        if len(self._crashes) == 1:
            return 0.0
        delay_s: float = self.policy.first_delay_s * 2 ** (len(self._crashes) - 2)
        return min(delay_s, self.policy.max_delay_s)

    def retry_after_s(self, now_s: float) -> float:
        """Seconds until a request may try again; 0: now."""
        if self._gave_up_at is None:
            return 0.0
        return max(0.0, self._gave_up_at + self.policy.cool_down_s - now_s)

    def on_retry(self) -> None:
        """Forget the past: somebody tries again."""
        self._crashes.clear()
        self._gave_up_at = None
