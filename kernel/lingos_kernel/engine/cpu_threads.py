"""How many processor cores a forward pass uses."""

from __future__ import annotations

import torch

MANY_ROWS = 8
"""From here on a pass is bound by arithmetic, and every core helps."""


class CpuThreads:
    """Half of the threads for a few rows, all of them for many.

    A pass of a few rows waits for memory, which half of the cores keep busy; the others are
    left to the kernel and its callers. Where threads must wait for a core, each operation waits
    for the last of them: on two busy cores, two threads decode at a third of the speed of one.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        """`threads` are all that there are; below 2 nothing is ever changed."""
        self._is_cpu = device.type == "cpu"
        self._all = threads

    def use_for(self, rows: int) -> None:
        """Set the threads of torch's operators for a pass of so many rows."""
        if self._is_cpu and self._all > 1:
            torch.set_num_threads(self._all if rows >= MANY_ROWS else self._all // 2)
