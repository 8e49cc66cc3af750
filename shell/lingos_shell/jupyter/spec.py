"""The entry by which notebook servers find the kernel."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

NAME = "lingos"
SOURCE = Path(__file__).with_name("kernelspec")


def install(*, user: bool = False, prefix: str | None = None) -> Path:
    """Make the kernel known to Jupyter; where its entry lies.

    For everybody, for the `user`, or below `prefix`. It starts by this Python. Raises `OSError`
    when the place cannot be written.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder) / NAME
        shutil.copytree(SOURCE, staged)
        file = staged / "kernel.json"
        entry = json.loads(file.read_text(encoding="utf-8"))
        entry["argv"][0] = sys.executable
        file.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        manager = KernelSpecManager()
        return Path(manager.install_kernel_spec(str(staged), NAME, user=user, prefix=prefix))


def remove() -> list[Path]:
    """Forget the kernel wherever it was made known; the places it was at.

    Raises `OSError` when a place cannot be written.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    removed = []
    manager = KernelSpecManager()
    while NAME in manager.find_kernel_specs():
        removed.append(Path(manager.remove_kernel_spec(NAME)))
    return removed
