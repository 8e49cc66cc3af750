"""What the graphs show: a short memory of the last minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot

LENGTH = 300
"""Seconds that are kept: one column of a graph for each."""


def _series() -> deque[float]:
    return deque(maxlen=LENGTH)


@dataclass(slots=True)
class History:
    """One series per graph, oldest first."""

    queue_depth: deque[float] = field(default_factory=_series)
    output_per_s: deque[float] = field(default_factory=_series)
    prompt_per_s: deque[float] = field(default_factory=_series)
    kv_share: deque[float] = field(default_factory=_series)
    memory_bytes: deque[float] = field(default_factory=_series)

    _second: int = 0

    def add(self, snapshot: Snapshot) -> None:
        """Remember this moment: of each second the highest value."""
        second = int(snapshot.time_s)
        is_new, self._second = second != self._second, second
        memory = sum(d.weights_bytes + d.kv_used_bytes + d.kv_cached_bytes
                     for d in snapshot.devices)  # fmt: skip
        for series, value in (
            (self.queue_depth, float(waiting(snapshot))),
            (self.output_per_s, output_per_s(snapshot)),
            (self.prompt_per_s, prompt_per_s(snapshot)),
            (self.kv_share, kv_share(snapshot)),
            (self.memory_bytes, float(memory)),
        ):
            if is_new or not series:
                series.append(value)
            else:
                series[-1] = max(series[-1], value)


def output_per_s(snapshot: Snapshot) -> float:
    """Tokens generated per second; the kernel's rate is the last one that was, we want now's."""
    return snapshot.rates.output_tokens_per_s if running(snapshot) else 0.0


def prompt_per_s(snapshot: Snapshot) -> float:
    """Prompt tokens read per second."""
    return snapshot.rates.prompt_tokens_per_s if running(snapshot) else 0.0


def running(snapshot: Snapshot) -> int:
    """Sequences in the batch."""
    return sum(model.running for model in snapshot.models)


def waiting(snapshot: Snapshot) -> int:
    """Sequences and calls that wait for their turn."""
    calls = sum(call.state == "queued" for call in snapshot.calls)
    return calls + sum(model.waiting for model in snapshot.models)


def kv_share(snapshot: Snapshot) -> float:
    """KV pages in use over all of them, 0 to 1."""
    total = sum(device.kv_total_bytes for device in snapshot.devices)
    return sum(device.kv_used_bytes for device in snapshot.devices) / total if total else 0.0
