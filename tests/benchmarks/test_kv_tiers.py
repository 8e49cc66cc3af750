"""The benchmark of tiers runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_short_run_reports_every_way(tiny_llama: Path) -> None:
    """A tiny model and two rounds: a line for each way, and pages did come from each tier."""
    script = Path(__file__).with_name("kv_tiers.py")
    arguments = ["--model", str(tiny_llama), "--tokens", "200", "--rounds", "2", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.count("median") == 4
    assert "equal: True" in done.stdout
    assert "load" in done.stdout
