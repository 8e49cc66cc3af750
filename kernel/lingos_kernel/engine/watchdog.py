"""When to give up an engine that lives but does nothing: a pure decision over its pulses."""

from __future__ import annotations

from dataclasses import dataclass

from lingos_kernel.engine.messages import Occupation, Pulse


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an engine is waited for; 0: for ever."""

    silent_s: float = 30.0
    """Without any sign of life."""
    step_s: float = 300.0
    """In one step, or with one command."""
    load_s: float = 3600.0
    """With the loading of a model."""

    def of(self, occupation: Occupation) -> float:
        """How long one occupation may take."""
        return {"idle": 0.0, "load": self.load_s}.get(occupation, self.step_s)


class Watchdog:
    """Judges one engine from its pulses; the caller tells the time and looks every `period_s`."""

    def __init__(self, patience: Patience, now_s: float, *, period_s: float) -> None:
        self._patience = patience
        self._period_s = period_s
        self._heard_s = self._looked_s = now_s
        self._pulse = Pulse("idle", 0.0)

    def heard(self, now_s: float, pulse: Pulse | None = None) -> None:
        """The engine said something."""
        self._heard_s = now_s
        self._pulse = pulse or self._pulse

    def complaint(self, now_s: float) -> str:
        """Why the engine is to be given up; empty as long as it is not."""
        was_late = now_s - self._looked_s > 2 * self._period_s
        self._looked_s = now_s
        if was_late:  # the kernel itself stood still: what was said meanwhile is yet to be read
            self._heard_s = now_s
            return ""
        silent_s = now_s - self._heard_s
        if 0 < self._patience.silent_s <= silent_s:
            return f"gave no sign of life for {silent_s:.0f} s"
        occupation, limit_s = self._pulse.occupation, self._patience.of(self._pulse.occupation)
        if 0 < limit_s <= self._pulse.for_s:
            return f"has been busy with one {occupation} for {self._pulse.for_s:.0f} s"
        return ""
