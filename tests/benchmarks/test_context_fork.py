"""The benchmark of forks runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run_reports_everything() -> None:
    """A short run ends well and has a line for each way and length."""
    script = Path(__file__).with_name("context_fork.py")
    done = subprocess.run(
        [sys.executable, str(script), "--quick"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.count("median") == 6
    assert "load" in done.stdout
