"""Running a plugin's code with a time limit, on a thread that may be left to itself."""

from __future__ import annotations

import contextvars
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lingos_kernel.errors import PluginFailed


class TimedOutError(TimeoutError):
    """Raised when a plugin's code did not end within its limit; its thread is left to itself."""


@dataclass(slots=True)
class Outcome:
    """What became of a plugin's code that ended."""

    value: Any = None
    error: BaseException | None = None
    took_s: float = 0.0

    def result(self) -> Any:
        """What it returned; raises what it raised, SystemExit and its like as `PluginFailed`."""
        if self.error is None:
            return self.value
        if isinstance(self.error, Exception):
            raise self.error
        raise PluginFailed(in_words(self.error)) from self.error


def run_limited(act: Callable[[], Any], *, name: str, limit_s: float) -> Outcome:
    """Run `act` to its end or its limit; raises only `TimedOutError`, see `Outcome` for the rest.

    It runs on a daemon thread of its own, since what hangs cannot be stopped.
    """
    outcome = Outcome()

    def run() -> None:
        begun = time.perf_counter()
        try:
            outcome.value = act()
        except BaseException as error:  # noqa: BLE001  SystemExit too: a plugin must not end the app
            outcome.error = error
        outcome.took_s = time.perf_counter() - begun

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), name=name, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise TimedOutError(f"{name} did not end in {limit_s:g} s")
    return outcome


class LimitedThread:
    """Runs a plugin's code, one piece after another, on a daemon thread that is kept."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Outcome, threading.Event]]
        self._thread: threading.Thread | None = None

    def run(self, act: Callable[[], Any], *, limit_s: float) -> Outcome:
        """As `run_limited`; a thread that hangs is left to itself, and the next one is new."""
        if self._thread is None:
            self._asked = queue.SimpleQueue()
            self._thread = threading.Thread(
                target=_work, args=(self._asked,), name=self._name, daemon=True
            )
            self._thread.start()
        outcome, done = Outcome(), threading.Event()
        self._asked.put((act, outcome, done))
        if not done.wait(limit_s):
            self._thread = None
            raise TimedOutError(f"{self._name} did not end in {limit_s:g} s")
        return outcome


def _work(asked: queue.SimpleQueue[tuple[Callable[[], Any], Outcome, threading.Event]]) -> None:
    while True:
        act, outcome, done = asked.get()
        try:
            outcome.value = act()
        except BaseException as error:  # noqa: BLE001  SystemExit too: a plugin must not end the app
            outcome.error = error
        done.set()


def in_words(error: BaseException) -> str:
    """The error's class and text."""
    return f"{type(error).__name__}: {error}"
