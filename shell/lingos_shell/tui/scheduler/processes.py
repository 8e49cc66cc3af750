"""The table of processes: from the snapshot's rows to cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from lingos_shell.tui.scheduler.columns import Column, Section
from lingos_shell.tui.spans import Role
from lingos_shell.tui.units import clock, rate, seconds, short_bytes, short_count

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import ProcessRow, Snapshot

WATCHING = "sys.snapshot"
STATE_ORDER = {"running": 0, "waiting": 1, "stopped": 2, "idle": 3, "ended": 4}
STATE_ROLES: dict[str, Role] = {
    "running": "good", "waiting": "warn", "stopped": "bad", "idle": "dim", "ended": "dim",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProcessItem:
    """A process, and what only all rows together tell of it."""

    row: ProcessRow
    device_bytes: int
    """Its KV pages, and its share of the weights that it computes with now."""


def process_items(snapshot: Snapshot) -> list[ProcessItem]:
    """The processes with the device memory that each accounts for."""
    users = Counter(row.model for row in snapshot.processes if row.kv_bytes)
    watchers = Counter(call.pid for call in snapshot.calls if call.syscall == WATCHING)
    weights = {model.name: model.weight_bytes for model in snapshot.models}
    return [
        ProcessItem(
            _without_watching(row, watchers[row.pid]),
            row.kv_bytes + weights.get(row.model, 0) // users[row.model] if row.kv_bytes else 0,
        )
        for row in snapshot.processes
    ]


def _without_watching(row: ProcessRow, watching: int) -> ProcessRow:
    """A process whose only call is the one that asks for this picture does nothing."""
    if watching and row.state == "running" and row.calls <= watching:
        return msgspec.structs.replace(row, state="idle")
    return row


def _state_role(item: ProcessItem) -> Role:
    return STATE_ROLES.get(item.row.state, "text")


def _command_role(item: ProcessItem) -> Role:
    return "strong" if item.row.state == "running" else "text"


def _queue_order(item: ProcessItem) -> tuple[int, int, int]:
    row = item.row
    position = row.queue_position if row.queue_position is not None else 1 << 30
    return STATE_ORDER.get(row.state, 5), position, row.pid


COLUMNS: tuple[Column[ProcessItem], ...] = (
    Column(
        "PID", "process id", 5, lambda p: str(p.row.pid), lambda p: p.row.pid,
        right=True, keep=100,
    ),
    Column(
        "WHO", "principal: who started it", 9, lambda p: p.row.principal,
        lambda p: p.row.principal, keep=60,
    ),
    Column(
        "VIA", "kind of caller: human, code, notebook, http, model, plugin, kernel", 8,
        lambda p: p.row.caller, lambda p: p.row.caller, role=lambda _: "dim", keep=20,
    ),
    Column(
        "MODEL", "model that it uses", 14, lambda p: p.row.model or "-",
        lambda p: p.row.model, role=lambda _: "dim", keep=10,
    ),
    Column(
        "STATE", "running, waiting, idle, stopped or ended; ordered as the queue is", 7,
        lambda p: p.row.state, _queue_order, role=_state_role, keep=90,
    ),
    Column(
        "PRI", "priority, -20 (most urgent) to 19", 3, lambda p: str(p.row.priority),
        lambda p: p.row.priority, right=True, keep=80,
        role=lambda p: "accent" if p.row.priority < 0 else "text",
    ),
    Column(
        "Q", "place in the queue, 1 is next", 3,
        lambda p: "-" if p.row.queue_position is None else str(p.row.queue_position + 1),
        _queue_order, right=True, keep=70,
    ),
    Column(
        "WAIT", "time it has waited for a slot", 5, lambda p: seconds(p.row.waited_s),
        lambda p: p.row.waited_s, right=True, keep=25, is_volatile=True, is_descending=True,
    ),
    Column(
        "PROMPT", "prompt tokens", 6, lambda p: short_count(p.row.prompt_tokens),
        lambda p: p.row.prompt_tokens, right=True, keep=30, is_volatile=True, is_descending=True,
    ),
    Column(
        "GEN", "generated tokens", 5, lambda p: short_count(p.row.output_tokens),
        lambda p: p.row.output_tokens, right=True, keep=35, is_volatile=True, is_descending=True,
    ),
    Column(
        "TOK/S", "tokens generated per second", 5, lambda p: rate(p.row.tokens_per_s),
        lambda p: p.row.tokens_per_s, right=True, keep=65, is_volatile=True, is_descending=True,
        role=lambda p: "good" if p.row.tokens_per_s > 0 else "dim",
    ),
    Column(
        "TTFT", "time to the first token", 5, lambda p: seconds(p.row.first_token_s),
        lambda p: p.row.first_token_s or 0.0, right=True, keep=45, is_descending=True,
    ),
    Column(
        "KV", "memory of its KV pages", 5, lambda p: short_bytes(p.row.kv_bytes),
        lambda p: p.row.kv_bytes, right=True, keep=55, is_volatile=True, is_descending=True,
        role=lambda p: "kv" if p.row.kv_bytes else "dim",
    ),
    Column(
        "MEM", "device memory: its KV pages and its share of the weights in use", 5,
        lambda p: short_bytes(p.device_bytes), lambda p: p.device_bytes, right=True, keep=40,
        is_volatile=True, is_descending=True,
    ),
    Column(
        "TIME", "age of the process", 7, lambda p: clock(p.row.age_s),
        lambda p: p.row.age_s, right=True, keep=50, is_descending=True,
    ),
    Column(
        "COMMAND", "what it runs", 0, lambda p: p.row.command, lambda p: p.row.command,
        keep=101, role=_command_role,
    ),
)  # fmt: skip


def _words(item: ProcessItem) -> str:
    row = item.row
    return f"{row.pid} {row.principal} {row.caller} {row.model} {row.state} {row.command}"


PROCESSES: Section[ProcessItem] = Section(
    name="processes",
    title="Processes",
    columns=COLUMNS,
    items=process_items,
    key=lambda item: item.row.pid,
    words=_words,
    sort="STATE",
    parent=lambda item: item.row.parent,
    tree_column="COMMAND",
    empty="no process",
)


def state_counts(rows: Sequence[ProcessRow]) -> Counter[str]:
    """How many processes are in each state."""
    return Counter(row.state for row in rows)
