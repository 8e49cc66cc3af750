"""Fitting a model of step times, and reading the steps."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.simulation.step_time import (
    StepRecord,
    StepTime,
    fit_step_time,
    read_steps,
    write_steps,
)

TRUTH = StepTime(base_s=0.008, row_s=0.0007, prefill_token_s=0.0003, kv_slot_s=2e-7)


def steps(noise: float) -> list[StepRecord]:
    """What an engine with these times would have recorded."""
    numbers = random.Random(7)
    records = []
    for _ in range(400):
        rows, tokens = numbers.randint(0, 32), numbers.choice([0, 0, 0, 64, 256])
        slots = rows * numbers.randint(20, 800) + tokens
        seconds = TRUTH.seconds(rows, tokens, slots) * numbers.uniform(1 - noise, 1 + noise)
        records.append(StepRecord(rows, tokens, slots, seconds))
    return records


def test_the_model_is_found_again() -> None:
    """Exactly without noise, nearly with it."""
    exact, noisy = fit_step_time(steps(0.0)), fit_step_time(steps(0.2))
    for rows, tokens, slots in ((1, 0, 100), (32, 0, 9000), (8, 256, 3000)):
        seconds = TRUTH.seconds(rows, tokens, slots)
        assert exact.seconds(rows, tokens, slots) == pytest.approx(seconds, rel=1e-4)
        assert noisy.seconds(rows, tokens, slots) == pytest.approx(seconds, rel=0.1)


def test_nothing_cannot_be_fitted() -> None:
    """An empty record is refused."""
    with pytest.raises(InvalidArguments, match="no steps"):
        fit_step_time([])


def test_records_come_back_from_their_file(tmp_path: Path) -> None:
    """What was written is read."""
    path = tmp_path / "steps.csv"
    write_steps(path, steps(0.1))
    assert read_steps(path) == steps(0.1)


def test_other_files_are_refused(tmp_path: Path) -> None:
    """The error says which columns are wanted."""
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidArguments) as refused:
        read_steps(path)
    assert "decode_rows" in refused.value.hint
