"""A download, as the screen of models shows it. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lingos_kernel.syscalls.events import Progress
from lingos_shell.tui.spans import Line, Span, clean, fit, fit_line
from lingos_shell.tui.units import clock, short_bytes

BAR = 28
NAME = 26


@dataclass(slots=True)
class Pulling:
    """How far a download is."""

    source: str
    now: Callable[[], float] = time.monotonic
    label: str = "waiting"
    done: float = 0.0
    total: float | None = None
    _first: tuple[float, float] | None = field(default=None)
    """Time and bytes of the first news: what was there before cost no time."""
    per_s: float = 0.0

    def take(self, event: Progress) -> None:
        """News."""
        now_s = self.now()
        if self._first is None or event.done < self._first[1]:
            self._first = now_s, event.done
        self.label, self.done, self.total = event.label, event.done, event.total
        begun_s, begun = self._first
        self.per_s = (event.done - begun) / (now_s - begun_s) if now_s > begun_s else 0.0


def pull_line(pulling: Pulling, width: int, *, mono: bool = False) -> Line:
    """Name, bar, share, bytes, speed, time left."""
    share = min(pulling.done / pulling.total, 1.0) if pulling.total else 0.0
    full = round(share * BAR)
    on, off = ("█", "░") if mono else ("━", "─")
    spans: list[Span] = [
        (fit(clean(pulling.source), NAME), "strong"), (" ", "text"),
        (on * full, "good"), (off * (BAR - full), "free"),
        (f" {share * 100:3.0f} %  ", "text"),
        (f"{short_bytes(pulling.done)}/{short_bytes(pulling.total or 0)}", "text"),
    ]  # fmt: skip
    if pulling.per_s > 0 and pulling.total:
        left_s = (pulling.total - pulling.done) / pulling.per_s
        spans.append((f"  {short_bytes(pulling.per_s)}/s  {clock(left_s)} left", "label"))
    spans += [(f"  {clean(pulling.label.split(' ')[0])}", "dim"), ("  Esc cancels", "dim")]
    return fit_line(tuple(spans), width)
