"""When the garbage collector runs."""

from __future__ import annotations

import gc
import subprocess
import sys

PROGRAM = """
import gc
from lingos_shell.tui import collector

collector.hold()
assert not gc.isenabled()
kept = [[number] for number in range(1000)]
collector.resume()
assert gc.isenabled()
assert gc.get_freeze_count() > len(kept)
assert not any(kept[0] is found for found in gc.get_objects())
print(gc.get_threshold())
"""


def test_what_a_start_made_is_left_alone_afterwards() -> None:
    """Nothing is collected during the start, and afterwards only what came later is looked at."""
    before = gc.get_threshold()
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout != f"{before}\n"
