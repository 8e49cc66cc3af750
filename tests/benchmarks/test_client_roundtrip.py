"""The benchmark of the client runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run_reports_everything() -> None:
    """A short run ends well and has all its lines."""
    script = Path(__file__).with_name("client_roundtrip.py")
    done = subprocess.run(
        [sys.executable, str(script), "--quick"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    for what in ("ping", "call, on the loop", "items/s", "calls/s", "exec to first ping"):
        assert what in done.stdout
