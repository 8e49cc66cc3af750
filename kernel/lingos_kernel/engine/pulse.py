"""The engine's pulse: a thread beside its work tells every second that it lives, and what it does.

A process that hangs (stopped, deadlocked in a driver) sends none any more, or says that one step
goes on and on; the kernel's `Watchdog` then gives it up. A long load, or a long prompt on a slow
machine, is told as what it is and is let go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lingos_kernel.engine.messages import Command, LoadModel, Occupation, Pulse

PERIOD_S = 1.0


class Activity:
    """What the thread that computes does, and since when; read by the one that tells it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._now: tuple[Occupation, float] = ("idle", clock())

    @contextmanager
    def of(self, occupation: Occupation) -> Iterator[None]:
        """Do this while the block runs."""
        self._now = (occupation, self._clock())
        try:
            yield
        finally:
            self._now = ("idle", self._clock())

    def pulse(self) -> Pulse:
        """What it does at this moment."""
        occupation, since_s = self._now
        return Pulse(occupation, self._clock() - since_s)


def occupation_of(command: Command) -> Occupation:
    """What an engine does that takes a command in."""
    return "load" if isinstance(command, LoadModel) else "command"


def start_pulse(activity: Activity, send: Callable[[Pulse], None]) -> None:
    """Tell it every second, on a thread of its own, until the process ends."""

    def beat() -> None:
        never = threading.Event()
        while not never.wait(PERIOD_S):
            send(activity.pulse())

    threading.Thread(target=beat, name="pulse", daemon=True).start()
