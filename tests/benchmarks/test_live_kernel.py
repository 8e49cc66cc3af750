"""The benchmarks of a real model through a whole kernel run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lingos_kernel.models.store import ModelStore

COMMON = ("--model=tiny", "--rounds=1", "--running=4", "--threads=1")
INTERACTIVE = ("--asks=2", "--outstanding=8", "--settle-s=1", "--window-s=2", "--gap-s=0.5")
FAIRNESS = ("--tokens", "4", "8", "--settle-s=1", "--longest-settle-s=2", "--window-s=2")


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("interactive_beside_batch.py", INTERACTIVE, ["first token p99", "batch work keeps"]),
        ("tenant_fairness.py", FAIRNESS, ["1:1", "1:3", "Jain's index"]),
    ],
)
def test_a_short_round_prints_its_verdicts(
    tmp_path: Path, tiny_llama: Path, script: str, arguments: tuple[str, ...], said: list[str]
) -> None:
    """On a tiny model; what the verdicts are is asked by hand, on the default model."""
    ModelStore(tmp_path).pull(str(tiny_llama), alias="tiny")
    path = Path(__file__).with_name(script)
    command = [sys.executable, str(path), f"--store={tmp_path}", *COMMON, *arguments]
    command += ["--words", "3", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in said)
