"""Starting the resident kernel in the background, and waiting until it answers."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lingos_kernel.errors import KernelUnavailable
from lingos_kernel.paths import LOG_NAME

if TYPE_CHECKING:
    from lingos_kernel.config import Config

START_S = 60.0
LOG_TAIL_LINES = 12
READY = b"1"


def log_file(config: Config) -> Path:
    """Where the kernel of these settings logs."""
    return config.paths.state_dir / LOG_NAME


def launch(config: Config, *, timeout_s: float = START_S) -> None:
    """Start a kernel that outlives this process; returns when its socket takes connections.

    A kernel that another launch has just started is as good. Raises `KernelUnavailable` with the
    last lines of the log.
    """
    log_path = log_file(config)
    log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    begin = log_path.stat().st_size if log_path.exists() else 0
    if not _spawn(config, log_path, timeout_s):
        raise KernelUnavailable(
            "the kernel did not start" + _tail(log_path, begin),
            hint=f"the whole log is {log_path}",
            reason="start",
        )


def _spawn(config: Config, log_path: Path, timeout_s: float) -> bool:
    """Whether a kernel takes calls in time: it then writes a byte into the pipe."""
    ready, tell = os.pipe()
    with open(ready, "rb", buffering=0) as ready_end, log_path.open("ab") as log:  # noqa: PTH123  # a descriptor
        try:
            parent = subprocess.Popen(
                [sys.executable, "-m", "lingos_kernel.server", "--detach", f"--ready-fd={tell}"],
                stdin=subprocess.PIPE, stdout=log, stderr=log, pass_fds=[tell],
                start_new_session=True, cwd="/",
            )  # fmt: skip
        finally:
            os.close(tell)
        parent.communicate(encode_config(config))
        poller = select.poll()
        poller.register(ready_end, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000)) and ready_end.read(1) == READY


def _tail(log_path: Path, begin: int) -> str:
    """The last lines that were logged since `begin`, for an error message."""
    with log_path.open("rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").splitlines()
    return "".join(f"\n  {line}" for line in lines[-LOG_TAIL_LINES:])


def encode_config(config: Config) -> bytes:
    """The settings, as the kernel's process reads them: exactly the ones resolved here."""
    return msgspec.json.encode(config, enc_hook=str)


def decode_config(data: bytes) -> Config:
    """The inverse of `encode_config`."""
    from lingos_kernel.config import Config

    def decode(kind: type[Any], value: Any) -> Any:
        return kind(value)

    return msgspec.json.decode(data, type=Config, dec_hook=decode)
