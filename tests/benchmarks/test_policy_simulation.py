"""The benchmark of policies on traces runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_every_policy_plays_a_trace(tmp_path: Path) -> None:
    """A short trace gives a line for each policy, and plots."""
    trace = tmp_path / "trace.csv"
    lines = [f"2024-01-01 00:00:{n // 4:02}.{n % 4}00,{50 + 7 * n},{10 + n}" for n in range(60)]
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *lines]))
    script = Path(__file__).with_name("policy_simulation.py")
    done = subprocess.run(
        [sys.executable, str(script), str(trace), "--running", "8", "--plots", str(tmp_path)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    for policy in ("attained-service", "deadline", "fair", "fifo", "priority", "round-robin"):
        assert f"\n{policy} " in done.stdout
    assert sorted(path.name for path in tmp_path.glob("*.svg")) == [
        "trace-first-token.svg",
        "trace-turnaround.svg",
    ]
