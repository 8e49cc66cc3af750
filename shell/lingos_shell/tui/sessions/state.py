"""Which sessions were open, kept in a file of the state folder for the next start."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

FILE_NAME = "sessions.json"


@dataclass(frozen=True, slots=True)
class OpenSessions:
    """The tabs with a name, in order, and which of them was in front."""

    names: tuple[str, ...] = ()
    active: int = 0


def read(folder: Path | None) -> OpenSessions:
    """What was kept; nothing when there is no such file or it cannot be read."""
    if folder is None:
        return OpenSessions()
    try:
        kept = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        names = tuple(name for name in kept["names"] if isinstance(name, str))
        return OpenSessions(names, int(kept["active"]))
    except (OSError, ValueError, KeyError, TypeError):
        return OpenSessions()  # the sessions themselves are the kernel's; only the tabs are lost


def write(folder: Path | None, sessions: OpenSessions) -> None:
    """Keep it, whole or not at all. Raises `OSError`."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / FILE_NAME
    draft = target.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(sessions), ensure_ascii=False), encoding="utf-8")
    draft.replace(target)
