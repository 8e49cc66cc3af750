"""The throughput benchmark runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("engine_throughput.py")


def test_prints_every_case(tiny_llama: Path) -> None:
    """One short round on a tiny model prints a rate for the engine and its peer in each case."""
    arguments = ("--rounds=1", "--tokens=4", "--prefill=32", "--threads=1")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_llama), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert "1 rounds" in lines[0]
    assert sum("tokens/s" in line for line in lines) == 6
