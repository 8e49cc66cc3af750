"""The benchmark of the scheduler's decisions runs."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_every_policy_decides_quickly() -> None:
    """A small round of each ends, and no decision takes longer than anybody would wait."""
    benchmark = runpy.run_path(str(Path(__file__).with_name("scheduling_decision.py")))
    for name in benchmark["POLICIES"]:
        # The 500 us are asserted by hand: a busy test machine says nothing about microseconds.
        assert sorted(benchmark["decide"](name, 16, 50))[-10] < 0.05
