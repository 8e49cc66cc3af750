"""The benchmark of compressed formats runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("compression.py")


def test_prints_every_format(tiny_llama: Path) -> None:
    """One short round on a tiny model prints a line of the table for each pair of formats."""
    arguments = ("--rounds=1", "--windows=2", "--length=32", "--tokens=4", "--threads=1")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_llama), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "own documents" in done.stdout
    assert sum(line.startswith(("| native", "| int")) for line in done.stdout.splitlines()) == 6
