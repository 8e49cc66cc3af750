"""A hundred random operations while things break; the benchmark of that name runs thousands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks/random_operations.py"


@pytest.mark.slow
def test_nothing_hangs_is_lost_doubled_or_leaks(tiny_llama: Path, tmp_path: Path) -> None:
    """Every fault comes at least once, and the run ends as it was promised to."""
    log = tmp_path / "kernel.log"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--operations", "100", "--seed", "7",
         "--model", str(tiny_llama), "--log", str(log)],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr + log.read_text(encoding="utf-8", errors="replace")[-4000:]
    assert done.returncode == 0, said
    assert "nothing hung, lost, doubled or leaked" in done.stdout
    for fault in ("engine killed", "engine stopped", "disk full", "clock set", "kernel killed"):
        assert fault in done.stdout
