"""The benchmark of the engine's start runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_one_round_reports_everything(tiny_llama: Path) -> None:
    """One round with a tiny model has all its lines; the time is not judged here."""
    script = Path(__file__).with_name("engine_start.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tiny_llama), "--rounds", "1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (0, 1), done.stderr
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "engine up",
        "model ready",
        "first token",
        "next token after kill -9",
    ]
