"""What the pane's actions ask of the kernel: each is a list of syscalls. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

SignalName = Literal["TERM", "KILL", "STOP", "CONT"]
SIGNALS: tuple[tuple[SignalName, str], ...] = (
    ("TERM", "cancel its calls"),
    ("KILL", "cancel its calls and end it"),
    ("STOP", "hold it at the next token"),
    ("CONT", "let it go on"),
)
MOST_URGENT, LEAST_URGENT = -20, 19


@dataclass(frozen=True, slots=True)
class Order:
    """Syscalls to make one after another, and what to tell when they are done."""

    calls: tuple[tuple[str, dict[str, Any]], ...]
    done: str
    question: str = ""
    """Asked first; empty: nothing is lost by it."""


def signal_processes(pids: Sequence[int], signal: SignalName) -> Order:
    """Send a signal to processes."""
    calls = tuple(("proc.kill", {"pid": pid, "signal": signal}) for pid in pids)
    return Order(calls, f"sent {signal} to {_processes(pids)}")


def renice(priorities: Sequence[tuple[int, int]], by: int) -> Order:
    """Change priorities, given as (pid, priority), as far as they go."""
    calls = tuple(
        ("proc.nice", {"pid": pid, "priority": min(max(old + by, MOST_URGENT), LEAST_URGENT)})
        for pid, old in priorities
    )
    told = ", ".join(f"{arguments['pid']} → {arguments['priority']}" for _, arguments in calls)
    return Order(calls, f"priority of {told}")


def unload(models: Sequence[str]) -> Order:
    """Free the memory of models; asks first, for others may wait for them."""
    names = ", ".join(models)
    calls = tuple(("model.unload", {"name": name}) for name in models)
    return Order(calls, f"unloaded {names}", f"Unload {names} from memory?")


def pin(models: Sequence[tuple[str, bool]]) -> Order:
    """Pin models, given as (name, is pinned), or let them go when all of them are pinned."""
    wants = not all(is_pinned for _, is_pinned in models)
    calls = tuple(("model.pin" if wants else "model.unpin", {"name": name}) for name, _ in models)
    names = ", ".join(name for name, _ in models)
    return Order(calls, f"{'pinned' if wants else 'unpinned'} {names}")


def _processes(pids: Sequence[int]) -> str:
    listed = ", ".join(map(str, pids))
    return f"process {listed}" if len(pids) == 1 else f"processes {listed}"
