"""What can be stopped, by shell: a notebook's interrupt says not always which it means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Stop = Callable[[], None]

MAIN = ""
"""The shell that has no id; the others are subshells."""


@dataclass(frozen=True, eq=False, slots=True)
class _Work:
    shell: str
    stop: Stop


class RunningWork:
    """The answers and awaits that run now. Used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: list[_Work] = []
        self._cells: list[str] = []

    @contextmanager
    def cell(self, shell: str) -> Iterator[None]:
        """Within the block the shell runs a cell."""
        with self._lock:
            self._cells.append(shell)
        try:
            yield
        finally:
            with self._lock:
                self._cells.remove(shell)

    def is_busy(self, shell: str) -> bool:
        """Whether the shell runs a cell."""
        with self._lock:
            return shell in self._cells

    @contextmanager
    def stoppable(self, shell: str, stop: Stop) -> Iterator[None]:
        """Within the block `stop`, which any thread may call, ends what the shell does."""
        work = _Work(shell, stop)
        with self._lock:
            self._works.append(work)
        try:
            yield
        finally:
            with self._lock:
                self._works.remove(work)

    def interrupt(self, shell: str = MAIN) -> bool:
        """Stop what the shell does; whether there was anything that can be stopped so.

        The main shell is what an interrupt means that names none. When that one runs no cell, all
        subshells are meant, since notebooks have one button for them all.
        """
        with self._lock:
            is_idle = shell == MAIN and MAIN not in self._cells
            meant = [work for work in self._works if is_idle or work.shell == shell]
        for work in meant:
            work.stop()
        return bool(meant)
