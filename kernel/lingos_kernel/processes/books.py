"""What a line of processes (one and its ancestors) has used, and may still use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from lingos_kernel.errors import QuotaExceeded
from lingos_kernel.processes.process import NO_LIMITS, Limits, Process


def charge(
    line: Iterable[Process], *, tokens: int, seconds: float, tool_calls: int, pages: int
) -> None:
    """Add to what each of them used."""
    for process in line:
        used = process.used
        used.tokens += tokens
        used.seconds += seconds
        used.tool_calls += tool_calls
        used.pages += pages


@contextmanager
def holding(line: Iterable[Process], pages: int) -> Iterator[None]:
    """Count pages for each of them while the block runs, even when one ends meanwhile."""
    held = list(line)
    for process in held:
        process.used.pages += pages
    try:
        yield
    finally:
        for process in held:
            process.used.pages -= pages


def check(line: Iterable[Process], *, tool_calls: bool) -> None:
    """Raise `QuotaExceeded` when a limit of one of them is used up."""
    for process in line:
        if what := process.used_up(tool_calls=tool_calls):
            raise QuotaExceeded(
                f"process {process.pid} ({process.command}) has used {what}",
                hint="raise its limit, or open another process",
                pid=process.pid,
            )


def tightest(line: Iterable[Process], name: str) -> Process:
    """The one that has the least left of a limit; the first when none has that limit."""

    def left(process: Process) -> float:
        value = getattr(process.remaining(), name)
        return math.inf if value is None else value

    return min(line, key=left)


def remaining(line: Iterable[Process]) -> Limits:
    """The least that any of them has left of each limit."""
    lefts = [process.remaining() for process in line if process.limits is not NO_LIMITS]
    if not lefts:
        return NO_LIMITS
    least: dict[str, Any] = {
        name: min((v for left in lefts if (v := getattr(left, name)) is not None), default=None)
        for name in Limits.__slots__
    }
    return Limits(**least)
