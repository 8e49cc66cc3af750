"""What a simulated run comes to: waiting, time to first token, fairness."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lingos_kernel.simulation.request import SimSequence
from lingos_kernel.simulation.simulator import Simulator

LOOK_EVERY_STEPS = 8
"""Between two looks at who waits; each reads the whole queue."""


def jain_index(shares: Sequence[float]) -> float:
    """1 when all are equal, 1/n when one has everything (Jain, Chiu and Hawe 1984)."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that so many percent do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


class FairnessMeter:
    """Jain's index of what tenants were served that had work waiting all through a window.

    Only those compete: who asks for less gets less without any unfairness. Shares are tokens
    computed for the first time, by weight. An observer of the simulator.
    """

    def __init__(self, *, window_s: float, weights: dict[str, float] | None = None) -> None:
        self._window_s = window_s
        self._weights = weights or {}
        self._end_s = window_s
        self._served: Counter[str] = Counter()
        self._competing: set[str] | None = None
        self._indices: list[float] = []

    def __call__(self, simulator: Simulator, fresh: list[tuple[SimSequence, int]]) -> None:
        """Take in a step."""
        for sequence, tokens in fresh:
            self._served[sequence.tenant] += tokens
        if simulator.steps % LOOK_EVERY_STEPS == 0:
            waiting = {sequence.tenant for sequence in simulator.waiting}
            self._competing = waiting if self._competing is None else self._competing & waiting
        if simulator.now_s >= self._end_s:
            self._close_window(simulator.now_s)

    @property
    def index(self) -> float | None:
        """Mean over the windows in which two tenants or more competed; None without any."""
        return statistics.fmean(self._indices) if self._indices else None

    def _close_window(self, now_s: float) -> None:
        competing = self._competing or set()
        if len(competing) > 1:
            shares = [self._served[name] / self._weights.get(name, 1.0) for name in competing]
            self._indices.append(jain_index(shares))
        self._served.clear()
        self._competing = None
        self._end_s = now_s + self._window_s


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of some requests of a run; times in seconds."""

    requests: int
    waiting_mean_s: float
    """From arrival to the first computed token."""
    first_token_mean_s: float
    """From arrival to the first output token."""
    first_token_p50_s: float
    first_token_p99_s: float
    turnaround_mean_s: float
    """From arrival to the last token."""
    turnaround_p50_s: float
    preemptions: int
    late: int
    """Ended after their deadline."""


def summarize(sequences: Iterable[SimSequence]) -> Summary:
    """The numbers of sequences that have ended."""
    sequences = list(sequences)
    turnarounds = [turnaround_s(sequence) for sequence in sequences]
    first_tokens = [first_token_s(sequence) for sequence in sequences]
    return Summary(
        requests=len(sequences),
        waiting_mean_s=_mean([waiting_s(sequence) for sequence in sequences]),
        first_token_mean_s=_mean(first_tokens),
        first_token_p50_s=percentile(first_tokens, 50),
        first_token_p99_s=percentile(first_tokens, 99),
        turnaround_mean_s=_mean(turnarounds),
        turnaround_p50_s=percentile(turnarounds, 50),
        preemptions=sum(sequence.preemptions for sequence in sequences),
        late=sum(_is_late(sequence) for sequence in sequences),
    )


def waiting_s(sequence: SimSequence) -> float:
    """From arrival to the first computed token."""
    assert sequence.started_s is not None
    return sequence.started_s - sequence.arrival_s


def first_token_s(sequence: SimSequence) -> float:
    """From arrival to the first output token."""
    assert sequence.first_token_s is not None
    return sequence.first_token_s - sequence.arrival_s


def turnaround_s(sequence: SimSequence) -> float:
    """From arrival to the last token."""
    assert sequence.end_s is not None
    return sequence.end_s - sequence.arrival_s


def program_turnarounds_s(sequences: Iterable[SimSequence]) -> list[float]:
    """Of each program: from its first request's arrival to its last token."""
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    for sequence in sequences:
        name = sequence.program or sequence.key
        assert sequence.end_s is not None
        begins[name] = min(begins.get(name, sequence.arrival_s), sequence.arrival_s)
        ends[name] = max(ends.get(name, sequence.end_s), sequence.end_s)
    return [ends[name] - begins[name] for name in begins]


def _is_late(sequence: SimSequence) -> bool:
    assert sequence.end_s is not None
    return sequence.deadline_s is not None and sequence.end_s > sequence.deadline_s


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0
