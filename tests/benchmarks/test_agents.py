"""The benchmark of agents runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lingos_kernel.models.store import ModelStore, StoredModel


@pytest.mark.model
@pytest.mark.slow
def test_a_small_run_reports_everything(
    model_store: ModelStore, default_model: StoredModel
) -> None:
    """Two agents of two turns get the same answers together as one after another."""
    script = Path(__file__).with_name("agents.py")
    sizes = ["--agents=2", "--turns=2", "--rounds=1", "--tokens=3", "--system-tokens=60"]
    done = subprocess.run(
        [sys.executable, str(script), "--store", str(model_store.root), "--tool-s=0.01", *sizes],
        capture_output=True, text=True, timeout=200, check=True,
    )  # fmt: skip
    assert "turnaround p50, one after another / together: median" in done.stdout
    assert "answers equal to those of the first run: 4 of 4" in done.stdout
    assert "load" in done.stdout
