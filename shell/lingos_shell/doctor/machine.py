"""The machine: Python, disk, memory, clock, folders."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from lingos_shell.doctor.finding import Finding, fail, ok, warn
from lingos_shell.units import bytes_text

GIB = 1 << 30

OLDEST_PYTHON = (3, 11)
DISK_NEEDED_BYTES, DISK_WANTED_BYTES = GIB // 2, 4 * GIB
"""The default model takes about 0.4 GiB while it is pulled; other models take several."""
MEMORY_NEEDED_BYTES, MEMORY_WANTED_BYTES = GIB, 2 * GIB
"""The default model in float32 takes 0.5 GiB, torch and the kernel 0.5 GiB more."""
RELEASED_S = 1_760_000_000
"""Unix time before which this program did not exist, so that an earlier clock is wrong."""


def check_python(version: tuple[int, int, int]) -> Finding:
    """Whether the Python is new enough."""
    text = ".".join(map(str, version))
    if version[:2] >= OLDEST_PYTHON:
        return ok("python", text)
    return fail("python", f"{text} is too old", "install Python 3.11 or newer")


def check_disk(folder: Path, free_bytes: int) -> Finding:
    """Whether the store's disk has room for models."""
    detail = f"{bytes_text(free_bytes)} free at {folder}"
    mend = "free some space, or set models.store to another disk"
    if free_bytes < DISK_NEEDED_BYTES:
        return fail("disk", detail, mend)
    return warn("disk", detail, mend) if free_bytes < DISK_WANTED_BYTES else ok("disk", detail)


def check_memory(available_bytes: int, total_bytes: int) -> Finding:
    """Whether the default model fits into memory."""
    detail = f"{bytes_text(available_bytes)} available of {bytes_text(total_bytes)}"
    mend = "close other programs; the default model needs about 1 GiB"
    if available_bytes < MEMORY_NEEDED_BYTES:
        return fail("memory", detail, mend)
    if available_bytes < MEMORY_WANTED_BYTES:
        return warn("memory", detail, mend)
    return ok("memory", detail)


def check_clock(now_s: float) -> Finding:
    """Whether the clock can be right; downloads over TLS fail when it is far off."""
    import datetime

    text = datetime.datetime.fromtimestamp(now_s, datetime.UTC).isoformat(timespec="seconds")
    if now_s < RELEASED_S:
        return fail("clock", f"{text} is in the past", "set the clock: timedatectl set-ntp true")
    return ok("clock", text)


def check_folders(runtime_dir: Path, writable: Iterable[Path], *, user: int) -> Finding:
    """Whether the socket's folder is private, and the others can be written."""
    if problem := _runtime_problem(runtime_dir, user):
        return problem
    for folder in writable:
        existing = nearest_existing(folder)
        if not os.access(existing, os.W_OK | os.X_OK):
            return fail(
                "folders", f"{existing} is not writable", f"chown or chmod u+rwx {existing}"
            )
    return ok("folders", f"socket folder {runtime_dir}")


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _runtime_problem(runtime_dir: Path, user: int) -> Finding | None:
    if not runtime_dir.exists():
        return None  # the kernel makes it, private
    facts = runtime_dir.stat()
    if facts.st_uid != user:
        mend = "remove it, or set LINGOS_HOME to a folder of your own"
        return fail("folders", f"{runtime_dir} belongs to another user", mend)
    if stat.S_IMODE(facts.st_mode) & 0o077:
        detail = f"others may enter {runtime_dir} (mode {stat.S_IMODE(facts.st_mode):o})"
        return warn("folders", detail, f"chmod 700 {runtime_dir}")
    return None
