"""How far a pull is, and whether it should go on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lingos_kernel.errors import Cancelled

Phase = Literal["waiting", "downloading", "extracting", "hashing", "converting", "storing"]
"""What a pull is doing; `waiting` means for another process that pulls the same model."""

REPORT_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class PullProgress:
    """One report: so many bytes of the current phase are done."""

    model: str
    phase: Phase
    done_bytes: int = 0
    total_bytes: int | None = None
    """None: not known."""
    file: str = ""


class Meter:
    """Counts the bytes of one pull, reports them, and raises `Cancelled` when told to stop."""

    def __init__(
        self,
        model: str,
        report: Callable[[PullProgress], None] | None = None,
        cancelled: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = PullProgress(model, "waiting")
        self._report = report
        self._cancelled = cancelled
        self._clock = clock
        self._reported_at = float("-inf")

    def begin(self, phase: Phase, *, total_bytes: int | None = None, file: str = "") -> None:
        """Start a phase at zero bytes, and report it."""
        self._now = PullProgress(self._now.model, phase, 0, total_bytes, file)
        self._emit()

    def advance(self, count_bytes: int) -> None:
        """Add bytes to the phase."""
        self.reach(self._now.done_bytes + count_bytes)

    def reach(self, done_bytes: int, *, file: str | None = None) -> None:
        """Set the bytes of the phase; reports at most each `REPORT_EVERY_S`, and at the end."""
        now = self._now
        total = now.total_bytes
        done = done_bytes if total is None else min(done_bytes, total)
        self._now = PullProgress(
            now.model, now.phase, done, total, now.file if file is None else file
        )
        is_end = total is not None and done == total and now.done_bytes != total
        if is_end or self._clock() - self._reported_at >= REPORT_EVERY_S:
            self._emit()
        self.check()

    def check(self) -> None:
        """Raises `Cancelled` if the pull was told to stop."""
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled(
                f"the pull of {self._now.model} was cancelled",
                hint="nothing was stored; pull again whenever you like",
            )

    def _emit(self) -> None:
        self._reported_at = self._clock()
        if self._report is not None:
            self._report(self._now)
