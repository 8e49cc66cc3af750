"""The tables of the audit log and of the kernel's log. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lingos_shell.tui.scheduler.columns import Column, Section
from lingos_shell.tui.spans import Role
from lingos_shell.tui.units import seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a table; `number` counts what has come."""

    number: int
    data: Mapping[str, Any]


def _get(entry: Entry, key: str) -> str:
    return str(entry.data.get(key, ""))


def _clock(entry: Entry) -> str:
    time_s = entry.data.get("time_s")
    return datetime.fromtimestamp(time_s).astimezone().strftime("%H:%M:%S") if time_s else "-"


def _outcome_role(entry: Entry) -> Role:
    return "good" if _get(entry, "outcome") == "ok" else "bad"


def _what(entry: Entry) -> str:
    """The call with the names of its arguments; or what else the line says."""
    if "syscall" in entry.data:
        return f"{entry.data['syscall']}({', '.join(entry.data.get('arguments', ()))})"
    if "previous" in entry.data:
        return "the chain goes on from the file before"
    if "broken" in entry.data:
        return f"not a record: {entry.data['text']}"
    lost = entry.data.get("lost_records") or 0
    return f"{lost} records, {entry.data.get('lost_bytes') or 0} bytes were lost"


AUDIT: Section[Entry] = Section(
    name="audit",
    title="Audit",
    columns=(
        Column("TIME", "when it ended", 8, _clock, lambda e: e.number, keep=80,
               role=lambda _: "dim"),
        Column("WHO", "principal", 10, lambda e: _get(e, "principal"),
               lambda e: _get(e, "principal"), keep=90),
        Column("CALLER", "human, code, notebook, http, model, plugin or kernel", 8,
               lambda e: _get(e, "caller"), lambda e: _get(e, "caller"), keep=40,
               role=lambda _: "label"),
        Column("PID", "process", 5, lambda e: _get(e, "pid"), lambda e: e.data.get("pid", 0),
               right=True, keep=50),
        Column("OUTCOME", "ok, or the code of the error", 16, lambda e: _get(e, "outcome"),
               lambda e: _get(e, "outcome"), keep=85, role=_outcome_role),
        Column("TOOK", "time that it ran", 6, lambda e: seconds(e.data.get("run_s")),
               lambda e: e.data.get("run_s", 0.0), right=True, keep=70, is_descending=True),
        Column("CALL", "the syscall with the names of its arguments", 0, _what, _what, keep=100),
        Column("TENANT", "tenant", 10, lambda e: _get(e, "tenant"), lambda e: _get(e, "tenant"),
               keep=20, role=lambda _: "dim"),
        Column("ID", "of the call", 12, lambda e: _get(e, "call_id"), lambda e: _get(e, "call_id"),
               keep=10, role=lambda _: "dim"),
    ),
    items=lambda _: (),
    key=lambda e: e.number,
    words=lambda e: " ".join((_get(e, "principal"), _get(e, "caller"), _get(e, "outcome"),
                              _get(e, "tenant"), _get(e, "pid"), _what(e))),
    sort="TIME",
    empty="no call yet",
)  # fmt: skip

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[,.]\d+ (?P<level>[A-Z]+) (?P<who>[^:\s]+): "
    r"(?P<text>.*)"
)


def log_entry(text: str) -> dict[str, Any]:
    """A line of the kernel's log in its parts; one that is part of a traceback has only text."""
    match = _LINE.fullmatch(text)
    return match.groupdict() if match else {"time": "", "level": "", "who": "", "text": text}


_LEVEL_ROLES: dict[str, Role] = {
    "DEBUG": "dim", "INFO": "label", "WARNING": "warn", "ERROR": "bad", "CRITICAL": "alarm",
}  # fmt: skip

LOG: Section[Entry] = Section(
    name="log",
    title="Kernel log",
    columns=(
        Column("TIME", "when", 8, lambda e: _get(e, "time")[-8:], lambda e: e.number, keep=80,
               role=lambda _: "dim"),
        Column("LEVEL", "debug, info, warning, error", 8, lambda e: _get(e, "level").lower(),
               lambda e: _get(e, "level"), keep=90,
               role=lambda e: _LEVEL_ROLES.get(_get(e, "level"), "text")),
        Column("FROM", "which part of the kernel", 24, lambda e: _get(e, "who"),
               lambda e: _get(e, "who"), keep=40, role=lambda _: "label"),
        Column("TEXT", "what it says", 0, lambda e: _get(e, "text"), lambda e: _get(e, "text"),
               keep=100),
    ),
    items=lambda _: (),
    key=lambda e: e.number,
    words=lambda e: f"{_get(e, 'level')} {_get(e, 'who')} {_get(e, 'text')}",
    sort="TIME",
    empty="the log is empty",
)  # fmt: skip
