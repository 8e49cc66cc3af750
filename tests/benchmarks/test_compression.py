"""The benchmark of compressed formats runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("compression.py")


def test_prints_every_format(tiny_llama: Path) -> None:
    """One short round prints each pair of formats; shuffled, the model is the same."""
    arguments = ("--rounds=1", "--windows=2", "--length=32", "--tokens=4", "--threads=1")
    more = ("--prefill=32", "--shuffled")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tiny_llama), *arguments, *more],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "own documents" in done.stdout
    assert sum(line.startswith(("| native", "| int")) for line in done.stdout.splitlines()) == 6
    drifts = re.findall(r"shuffled, (\w+) / native: perplexity [\d.]+, ([-+][\d.]+)", done.stdout)
    assert [name for name, _ in drifts] == ["native", "int8", "int4"]
    assert abs(float(drifts[0][1])) < 0.01
