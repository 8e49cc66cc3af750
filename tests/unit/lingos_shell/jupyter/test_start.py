"""What the notebook kernel loads before its first cell."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("ipykernel")

LATER = (
    "torch",
    "anywidget",
    "lingos_kernel.client.connect",
    "lingos_shell.language.interpreter",
    "lingos_shell.jupyter.cell_output",
    "lingos_shell.jupyter.session",
    "lingos_shell.jupyter.top_view",
)


def test_cells_of_plain_python_wait_for_nothing_of_the_language() -> None:
    """Interpreter, client and widgets are loaded with the first line that needs them."""
    program = "import sys, lingos_shell.jupyter.kernel; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert set(LATER).isdisjoint(done.stdout.split())
