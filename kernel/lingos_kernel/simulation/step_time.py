"""How long a step of the engine takes, by what it computes; fitted from recorded steps."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.scheduling.least_squares import NormalEquations


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a real engine."""

    decode_rows: int
    """Sequences that computed one token."""
    prefill_tokens: int
    kv_slots: int
    """Slots that attention read, over all sequences."""
    step_s: float


COLUMNS = tuple(field.name for field in fields(StepRecord))


@dataclass(frozen=True, slots=True)
class StepTime:
    """Step time = base + a part for each decode row, prefill token and KV slot."""

    base_s: float
    row_s: float
    prefill_token_s: float
    kv_slot_s: float

    def seconds(self, decode_rows: int, prefill_tokens: int, kv_slots: int) -> float:
        """How long such a step takes."""
        return (
            self.base_s
            + self.row_s * decode_rows
            + self.prefill_token_s * prefill_tokens
            + self.kv_slot_s * kv_slots
        )


def fit_step_time(records: Iterable[StepRecord]) -> StepTime:
    """The model that foresees these steps best, by least squares of the relative error.

    Relative, so that the many short steps count as much as the few long ones: relative to what a
    first fit foresees, since relative to what was measured slow steps would count for little, and
    less time would be foreseen than they take together. Raises `InvalidArguments` when there are
    no steps.
    """
    records = list(records)
    if not records:
        raise InvalidArguments("there are no steps to fit a model to", hint="record some first")
    times = _fit(records, [record.step_s for record in records])
    foreseen_s = [
        times.seconds(record.decode_rows, record.prefill_tokens, record.kv_slots)
        for record in records
    ]
    least_s = min(record.step_s for record in records)
    return _fit(records, [max(step_s, least_s) for step_s in foreseen_s])


def _fit(records: Sequence[StepRecord], scales_s: Sequence[float]) -> StepTime:
    """By least squares of each error over its scale."""
    equations = NormalEquations(4)
    for record, scale_s in zip(records, scales_s, strict=True):
        features = (1.0, record.decode_rows, record.prefill_tokens, record.kv_slots)
        equations.add(features, record.step_s, weight=1 / scale_s**2)
    return StepTime(*equations.solve())


def write_steps(path: Path, records: Iterable[StepRecord]) -> None:
    """Write steps as CSV with a head line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(astuple(record) for record in records)


def read_steps(path: Path) -> list[StepRecord]:
    """The steps of a CSV file with the columns of `StepRecord`, in any order.

    Raises `InvalidArguments` when it has others.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not set(COLUMNS) <= set(rows[0]):
        raise InvalidArguments(
            f"{path} is no record of steps", hint=f"its columns are {', '.join(COLUMNS)}"
        )
    return [
        StepRecord(
            decode_rows=int(row["decode_rows"]),
            prefill_tokens=int(row["prefill_tokens"]),
            kv_slots=int(row["kv_slots"]),
            step_s=float(row["step_s"]),
        )
        for row in rows
    ]
