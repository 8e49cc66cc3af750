"""Everything about one row, line by line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lingos_shell.tui.scheduler.arrange import Placed
from lingos_shell.tui.scheduler.columns import Section
from lingos_shell.tui.spans import Line, clean

LABEL = 10
SHOWN = ("limits", "used", "program", "context", "children", "on_parent_end", "note")
"""Of what `proc.show` tells, the parts that are not in the row."""


def detail_lines(section: Section[Any], row: Placed, more: Mapping[str, Any]) -> list[Line]:
    """Each column with its value and meaning, then what only the kernel knew."""
    lines: list[Line] = [
        (
            (f"{column.name:<{LABEL}}", "label"),
            (f"{clean(column.text(row.item)):<28} ", column.role(row.item)),
            (column.about, "dim"),
        )
        for column in section.columns
    ]
    extra = list(_extra(more))
    return [*lines, (), *extra] if extra else lines


def _extra(more: Mapping[str, Any]) -> Iterator[Line]:
    for name in SHOWN:
        value = more.get(name)
        if isinstance(value, Mapping):
            told = ", ".join(f"{key} {_text(part)}" for key, part in value.items())
        elif isinstance(value, list):
            told = ", ".join(map(str, value)) or "none"
        elif value in (None, ""):
            continue
        else:
            told = str(value)
        yield ((f"{name.replace('_', ' '):<{LABEL + 4}}", "label"), (clean(told), "text"))


def _text(value: Any) -> str:
    if value is None:
        return "no limit"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
