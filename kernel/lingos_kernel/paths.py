"""Where LingOS keeps its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

MAX_SOCKET_BYTES = 103
"""The longest path of a Unix socket that every system takes."""
LOG_NAME = "kernel.log"
"""The kernel's log, in the state folder."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Where LingOS keeps what, as the XDG base directories say (on every system)."""

    config_dir: Path
    data_dir: Path
    state_dir: Path
    cache_dir: Path
    runtime_dir: Path


def find_paths(environ: Mapping[str, str]) -> tuple[Paths, dict[str, str]]:
    """The folders, and where each came from. Relative XDG paths are ignored, as XDG wants."""
    if root := environ.get("LINGOS_HOME"):
        home = Path(root).expanduser().absolute()
        names = {f.name: home / f.name.removesuffix("_dir") for f in fields(Paths)}
        return Paths(**names), {f"paths.{name}": "environment LINGOS_HOME" for name in names}
    user = Path(environ.get("HOME") or Path.home())
    found: dict[str, Path] = {}
    sources: dict[str, str] = {}
    for name, variable, fallback in (
        ("config_dir", "XDG_CONFIG_HOME", user / ".config"),
        ("data_dir", "XDG_DATA_HOME", user / ".local/share"),
        ("state_dir", "XDG_STATE_HOME", user / ".local/state"),
        ("cache_dir", "XDG_CACHE_HOME", user / ".cache"),
        ("runtime_dir", "XDG_RUNTIME_DIR", None),
    ):
        given = environ.get(variable, "")
        if Path(given).is_absolute():
            found[name] = Path(given) / "lingos"
            sources[f"paths.{name}"] = f"environment {variable}"
        else:
            # Without a runtime folder of the system, the state folder is the private one we have.
            found[name] = fallback / "lingos" if fallback else found["state_dir"] / "run"
            sources[f"paths.{name}"] = "default"
    return Paths(**found), sources


def default_socket(paths: Paths) -> Path:
    """The kernel's socket: in the runtime folder, or where its path is short enough."""
    socket = paths.runtime_dir / "kernel.sock"
    if len(os.fsencode(socket)) <= MAX_SOCKET_BYTES:
        return socket
    import hashlib
    import tempfile

    digest = hashlib.sha256(os.fsencode(socket)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"lingos-{os.getuid()}" / f"{digest}.sock"
