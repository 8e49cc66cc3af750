"""Where a notebook server starts the kernel: `python -m lingos_shell.jupyter -f FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # A module in the notebook's folder must not stand in for one that the kernel needs; IPython
    # puts the folder back for the cells.
    if sys.path[0] in ("", str(Path.cwd())):
        del sys.path[0]
    from ipykernel.kernelapp import IPKernelApp

    from lingos_shell.jupyter.kernel import LingOSKernel

    IPKernelApp.launch_instance(kernel_class=LingOSKernel)
