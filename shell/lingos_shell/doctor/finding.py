"""The outcome of one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `mend` says what to do unless all is well."""

    name: str
    status: Status
    detail: str
    mend: str = ""


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", detail)


def warn(name: str, detail: str, mend: str) -> Finding:
    """It works, but not as it should."""
    return Finding(name, "warn", detail, mend)


def fail(name: str, detail: str, mend: str) -> Finding:
    """LingOS cannot work like this."""
    return Finding(name, "fail", detail, mend)
