"""How a step's prompt tokens are divided among those who want some."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

QUANTUM_TOKENS = 16
MOST_TURNS = 64


def split_evenly(demands: Sequence[int], budget: int) -> list[int]:
    """Equal parts of the budget, none above its demand; `demands` are in ascending order."""
    parts = []
    for index, demand in enumerate(demands):
        part = min(demand, -(-budget // (len(demands) - index)))
        parts.append(part)
        budget -= part
    return parts


def fill_levels(
    levels: Sequence[float], weights: Sequence[float], demands: Sequence[int], budget: int
) -> list[int]:
    """Parts of the budget, none above its demand, that go to whoever is lowest at the time.

    A part raises a level by its size over the weight. `QUANTUM_TOKENS` are given at a time, or
    more where the budget would take above `MOST_TURNS` turns.
    """
    quantum = max(QUANTUM_TOKENS, budget // MOST_TURNS)
    parts = [0] * len(demands)
    heap = [(level, index) for index, level in enumerate(levels)]
    heapq.heapify(heap)
    while heap and budget:
        level, index = heap[0]
        tokens = min(quantum, demands[index] - parts[index], budget)
        parts[index] += tokens
        budget -= tokens
        if parts[index] < demands[index]:
            heapq.heapreplace(heap, (level + tokens / weights[index], index))
        else:
            heapq.heappop(heap)
    return parts
