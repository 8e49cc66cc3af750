"""Processes as people see them, in `ps` and `top`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lingos_shell.tables import plain_table
from lingos_shell.units import bytes_text, duration_text

if TYPE_CHECKING:
    from rich.table import Table

Process = Mapping[str, Any]
"""A `ProcessRow` of the snapshot, as plain data."""

NUMBERS = ("PID", "NI", "PROMPT", "OUTPUT", "TOK/S", "KV", "AGE")
COLUMNS = (
    "PID", "NI", "STATE", "PRINCIPAL", "MODEL", "PROMPT", "OUTPUT", "TOK/S", "KV", "AGE", "COMMAND",
)  # fmt: skip


def process_table(rows: Sequence[Process], *, is_tree: bool = False) -> Table:
    """One row per process, by pid or as a tree."""
    ordered = in_tree_order(rows) if is_tree else ((0, row) for row in rows)
    return plain_table(
        COLUMNS,
        [process_cells(row, depth) for depth, row in ordered],
        right=NUMBERS,
    )


def process_cells(row: Process, depth: int = 0) -> tuple[str, ...]:
    """What `ps` and `top` show of a process, in the order of `COLUMNS`."""
    return (
        str(row["pid"]),
        str(row["priority"]),
        state_text(row),
        str(row["principal"]),
        str(row.get("model") or "-"),
        str(row.get("prompt_tokens", 0)),
        str(row.get("output_tokens", 0)),
        f"{row.get('tokens_per_s', 0.0):.1f}",
        bytes_text(row.get("kv_bytes", 0)),
        duration_text(row.get("age_s", 0.0)),
        "  " * depth + str(row["command"]),
    )


def state_text(row: Process) -> str:
    """The state, with the place in the queue where there is one."""
    position = row.get("queue_position")
    return str(row["state"]) if position is None else f"{row['state']} #{position + 1}"


def in_tree_order(rows: Iterable[Process]) -> Iterator[tuple[int, Process]]:
    """Each process after its parent, with its depth; orphans stand at the root."""
    by_pid = {row["pid"]: row for row in rows}
    children: dict[int, list[Process]] = {}
    for row in by_pid.values():
        parent = row.get("parent", 0)
        children.setdefault(parent if parent in by_pid else 0, []).append(row)

    def walk(pid: int, depth: int) -> Iterator[tuple[int, Process]]:
        for row in children.get(pid, ()):
            yield depth, row
            yield from walk(row["pid"], depth + 1)

    return walk(0, 0)
