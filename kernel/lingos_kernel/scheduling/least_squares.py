"""Least squares with coefficients that are not negative, for a handful of features."""

from __future__ import annotations

from collections.abc import Sequence


class NormalEquations:
    """Sums up observations one by one; old ones may fade. Costs features squared each."""

    def __init__(self, features: int) -> None:
        self._products = [[0.0] * features for _ in range(features)]
        self._targets = [0.0] * features

    def add(self, features: Sequence[float], target: float, weight: float = 1.0) -> None:
        """Take in one observation."""
        for row, (products, value) in enumerate(zip(self._products, features, strict=True)):
            scaled = weight * value
            self._targets[row] += scaled * target
            for column, other in enumerate(features):
                products[column] += scaled * other

    def fade(self, factor: float) -> None:
        """Make everything so far count by a factor below 1."""
        self._targets = [factor * value for value in self._targets]
        self._products = [[factor * value for value in row] for row in self._products]

    def solve(self) -> list[float]:
        """The coefficients; what the observations say nothing of, or deny, is 0.

        Coefficients that come out negative are fixed at 0, the most negative first, and the others
        solved for again.
        """
        free = [i for i in range(len(self._targets)) if self._products[i][i] > 0]
        while free:
            found = self._solve(free)
            worst = min(range(len(free)), key=lambda index: found[index])
            if found[worst] >= 0:
                break
            del free[worst]
        else:
            found = []
        coefficients = [0.0] * len(self._targets)
        for index, value in zip(free, found, strict=True):
            coefficients[index] = value
        return coefficients

    def _solve(self, free: Sequence[int]) -> list[float]:
        """Gaussian elimination; the diagonal is raised a little, so that it always succeeds."""
        rows = [
            [self._products[i][j] * (1 + 1e-9 * (i == j)) for j in free] + [self._targets[i]]
            for i in free
        ]
        for pivot in range(len(rows)):
            best = max(range(pivot, len(rows)), key=lambda row: abs(rows[row][pivot]))
            rows[pivot], rows[best] = rows[best], rows[pivot]
            if not rows[pivot][pivot]:
                rows[pivot][pivot] = 1.0
            for row in rows[pivot + 1 :]:
                factor = row[pivot] / rows[pivot][pivot]
                for column in range(pivot, len(row)):
                    row[column] -= factor * rows[pivot][column]
        found = [0.0] * len(rows)
        for pivot in reversed(range(len(rows))):
            row = rows[pivot]
            known = sum(row[column] * found[column] for column in range(pivot + 1, len(rows)))
            found[pivot] = (row[-1] - known) / row[pivot]
        return found
