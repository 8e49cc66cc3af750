"""The benchmark of the pipeline runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_quick_run_reports_everything() -> None:
    """A short run ends well and has all its lines."""
    script = Path(__file__).with_name("syscall_overhead.py")
    done = subprocess.run(
        [sys.executable, str(script), "200"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["call"].split(",")[0] for line in lines] == [
        "noop",
        "noop",
        "noop on a thread",
        "noop in a call",
        "noop",
        "bench.stream",
        "bench.stream_thread",
    ]
