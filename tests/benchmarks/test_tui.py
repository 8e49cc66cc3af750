"""The benchmarks of the terminal interface still run."""

from __future__ import annotations

import runpy
from pathlib import Path


async def test_rows_are_measured() -> None:
    """Both tables take updates of a few rows."""
    benchmark = runpy.run_path(str(Path(__file__).with_name("tui_rows.py")))
    found = await benchmark["measure"](count=20, rounds=2)
    assert set(found) == {"scheduler pane", "DataTable alone"}
    assert all(len(values) == 2 for values in found.values())


def test_the_first_frame_is_measured() -> None:
    """A frame comes, typing is echoed, and leaving ends the program and the kernel."""
    benchmark = runpy.run_path(str(Path(__file__).with_name("tui_first_frame.py")))
    found = benchmark["measure"](rounds=1)
    assert set(found) == {"lingos", "lingos top", "textual alone", "first echo"}
