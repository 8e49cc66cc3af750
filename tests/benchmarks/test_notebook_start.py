"""The benchmark of the notebook kernel's start still runs."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("ipykernel")


def test_both_kernels_run_a_cell() -> None:
    """One round of each kernel is measured."""
    benchmark = runpy.run_path(str(Path(__file__).with_name("notebook_start.py")))
    found = benchmark["measure"](rounds=1)
    assert set(found) == {"ipykernel", "lingos"}
    assert all(seconds > 0 for (seconds,) in found.values())
