"""The benchmark of the command line's start still runs."""

from __future__ import annotations

import runpy
from pathlib import Path


def test_help_is_fast() -> None:
    """`--version` and `--help` are measured, and are nowhere near seconds."""
    benchmark = runpy.run_path(str(Path(__file__).with_name("cli_startup.py")))
    found = benchmark["measure"](rounds=5)
    assert set(found) == {"lingos --version", "lingos --help"}
    # The budget itself is asserted by hand: a busy test machine says nothing about milliseconds.
    assert all(seconds < 20 * benchmark["BUDGET_S"] for seconds in found.values())
