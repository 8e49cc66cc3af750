"""The other tables of the pane: queue, threads, locks, models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lingos_shell.tui.scheduler.columns import Column, Section
from lingos_shell.tui.scheduler.processes import PROCESSES
from lingos_shell.tui.spans import Role
from lingos_shell.tui.units import percent, seconds, short_bytes, short_count

if TYPE_CHECKING:
    from lingos_kernel.engine.stat_rows import SequenceStats
    from lingos_kernel.telemetry.snapshot import LockRow, ModelRow, Snapshot, ThreadRow


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that stands in a queue, or runs: a call, a sequence, or a whole message queue."""

    kind: str
    name: str
    pid: int
    who: str
    state: str
    priority: int | None
    position: int | None
    time_s: float
    progress: str
    identity: str


def waiting_items(snapshot: Snapshot) -> list[Waiting]:
    """Calls, sequences and message queues, in this order."""
    who = {row.pid: row.principal for row in snapshot.processes}
    calls = [
        Waiting(
            "call", row.syscall, row.pid, row.principal, row.state, row.priority,
            row.queue_position, row.age_s, "", row.call_id,
        )
        for row in snapshot.calls
    ]  # fmt: skip
    sequences = [
        Waiting(
            "sequence", row.model, row.pid, who.get(row.pid, ""), row.state, row.priority,
            row.queue_position, row.waited_s + row.running_s, _progress(row),
            f"{row.request_id}/{row.choice}",
        )
        for row in snapshot.sequences
    ]  # fmt: skip
    queues = [
        Waiting(
            "queue", row.name, 0, "", "waiting" if row.depth else "empty", None, None,
            row.oldest_s, f"{row.depth}/{row.bound} deep, {row.consumers} readers", row.name,
        )
        for row in snapshot.queues
    ]  # fmt: skip
    return [*calls, *sequences, *queues]


def _progress(row: SequenceStats) -> str:
    if row.state == "decode":
        return f"{row.output_tokens} tokens out"
    share = row.computed_tokens / row.prompt_tokens if row.prompt_tokens else 0.0
    return f"prefill {percent(min(share, 1.0))} of {short_count(row.prompt_tokens)}"


_QUEUE_ROLES: dict[str, Role] = {
    "running": "good", "decode": "good", "prefill": "good", "queued": "warn", "waiting": "warn",
    "preempted": "bad", "paused": "bad", "empty": "dim",
}  # fmt: skip

QUEUE: Section[Waiting] = Section(
    name="queue",
    title="Queue",
    columns=(
        Column(
            "Q", "place in the queue, 1 is next", 3,
            lambda w: "-" if w.position is None else str(w.position + 1),
            lambda w: (w.position is None, w.position or 0, w.identity), right=True, keep=90,
        ),
        Column("KIND", "call, sequence or message queue", 8, lambda w: w.kind, lambda w: w.kind,
               role=lambda _: "dim", keep=50),
        Column("STATE", "what it does", 9, lambda w: w.state, lambda w: w.state, keep=80,
               role=lambda w: _QUEUE_ROLES.get(w.state, "text")),
        Column("PRI", "priority, -20 (most urgent) to 19", 3,
               lambda w: "-" if w.priority is None else str(w.priority),
               lambda w: w.priority or 0, right=True, keep=70),
        Column("PID", "process id", 5, lambda w: str(w.pid or "-"), lambda w: w.pid, right=True,
               keep=75),
        Column("WHO", "principal", 9, lambda w: w.who, lambda w: w.who, keep=40),
        Column("TIME", "since it came", 6, lambda w: seconds(w.time_s), lambda w: w.time_s,
               right=True, keep=60, is_volatile=True, is_descending=True),
        Column("PROGRESS", "how far it is", 22, lambda w: w.progress, lambda w: w.progress,
               role=lambda _: "dim", keep=30),
        Column("WHAT", "syscall, model or name of the queue", 0, lambda w: w.name,
               lambda w: w.name, keep=100),
    ),
    items=waiting_items,
    key=lambda w: (w.kind, w.identity),
    words=lambda w: f"{w.kind} {w.name} {w.pid} {w.who} {w.state}",
    sort="Q",
    empty="nothing waits",
)  # fmt: skip

_THREAD_ROLES: dict[str, Role] = {"running": "good", "blocked": "warn", "idle": "dim"}
_THREAD_ORDER = {"running": 0, "blocked": 1, "idle": 2}

THREADS: Section[ThreadRow] = Section(
    name="threads",
    title="Threads",
    columns=(
        Column("THREAD", "name", 12, lambda t: t.name, lambda t: t.name, keep=90),
        Column("STATE", "idle, running or blocked", 7, lambda t: t.state,
               lambda t: (_THREAD_ORDER.get(t.state, 3), t.name), keep=80,
               role=lambda t: _THREAD_ROLES.get(t.state, "text")),
        Column("PID", "process that it works for", 5, lambda t: str(t.pid or "-"),
               lambda t: t.pid, right=True, keep=70),
        Column("SYSCALL", "what it runs", 18, lambda t: t.syscall or "-", lambda t: t.syscall,
               keep=75),
        Column("WAITS ON", "lock, queue or call", 18, lambda t: t.waiting_on or "-",
               lambda t: t.waiting_on, keep=60,
               role=lambda t: "warn" if t.waiting_on else "dim"),
        Column("CPU", "CPU time", 6, lambda t: seconds(t.cpu_s), lambda t: t.cpu_s, right=True,
               keep=50, is_volatile=True, is_descending=True),
        Column("BUSY", "time at work", 6, lambda t: seconds(t.busy_s), lambda t: t.busy_s,
               right=True, keep=40, is_volatile=True, is_descending=True),
        Column("FRAME", "innermost frame", 0, lambda t: t.frame or "-", lambda t: t.frame,
               role=lambda _: "dim", keep=100),
    ),
    items=lambda snapshot: snapshot.threads,
    key=lambda t: t.name,
    words=lambda t: f"{t.name} {t.state} {t.syscall} {t.waiting_on} {t.frame}",
    sort="STATE",
    empty="no threads",
)  # fmt: skip


def _pids(pids: tuple[int, ...]) -> str:
    return " ".join(map(str, pids)) or "-"


LOCKS: Section[LockRow] = Section(
    name="locks",
    title="Locks",
    columns=(
        Column("KIND", "mutex, semaphore, read-write lock or barrier", 10, lambda k: k.kind,
               lambda k: k.kind, role=lambda _: "dim", keep=50),
        Column("FREE", "places left", 4, lambda k: str(k.available), lambda k: k.available,
               right=True, keep=60),
        Column("HELD BY", "pids", 16, lambda k: _pids(k.holders), lambda k: k.holders, keep=80),
        Column("WAITING", "pids", 16, lambda k: _pids(k.waiters), lambda k: len(k.waiters),
               keep=70, is_descending=True, role=lambda k: "warn" if k.waiters else "dim"),
        Column("LOCK", "name", 0, lambda k: k.name, lambda k: k.name, keep=100),
    ),
    items=lambda snapshot: snapshot.locks,
    key=lambda k: k.name,
    words=lambda k: f"{k.name} {k.kind} {_pids(k.holders)} {_pids(k.waiters)}",
    sort="LOCK",
    empty="no lock is held",
)  # fmt: skip

_MODEL_ORDER = {"busy": 0, "ready": 1, "loading": 2, "stored": 3}
_MODEL_ROLES: dict[str, Role] = {
    "busy": "good", "ready": "text", "loading": "warn", "stored": "dim",
}  # fmt: skip


def _kept(model: ModelRow) -> str:
    """Whether, and how long, an idle model stays in memory."""
    if model.pinned:
        return "pinned"
    return f"ttl {seconds(model.ttl_s)}" if model.ttl_s else "-"


def _tiers(model: ModelRow) -> str:
    """KV pages that moved off the device, tier by tier."""
    return " ".join(f"{tier.name} {short_bytes(tier.used_bytes)}" for tier in model.tiers) or "-"


MODELS: Section[ModelRow] = Section(
    name="models",
    title="Models",
    columns=(
        Column("STATE", "stored, loading, ready or busy", 7, lambda m: m.state,
               lambda m: (_MODEL_ORDER.get(m.state, 4), m.name), keep=80,
               role=lambda m: _MODEL_ROLES.get(m.state, "text")),
        Column("KIND", "causal or embedder", 8, lambda m: m.kind, lambda m: m.kind,
               role=lambda _: "dim", keep=20),
        Column("PARAMS", "number of parameters", 6, lambda m: short_count(m.parameters),
               lambda m: m.parameters, right=True, keep=40, is_descending=True),
        Column("WEIGHT", "memory of the weights", 6, lambda m: short_bytes(m.weight_bytes),
               lambda m: m.weight_bytes, right=True, keep=75, is_descending=True,
               role=lambda m: "weights" if m.weight_bytes else "dim"),
        Column("KV", "KV memory in use, of all it has", 11,
               lambda m: f"{short_bytes(m.kv_used_bytes)}/{short_bytes(m.kv_bytes)}"
               if m.kv_bytes else "-",
               lambda m: m.kv_used_bytes, right=True, keep=60, is_descending=True,
               role=lambda m: "kv" if m.kv_used_bytes else "dim"),
        Column("CTX", "longest context, in tokens", 5, lambda m: short_count(m.context_tokens),
               lambda m: m.context_tokens, right=True, keep=45, is_descending=True),
        Column("RUN", "sequences in the batch (parallel)", 3, lambda m: str(m.running),
               lambda m: m.running, right=True, keep=70, is_descending=True),
        Column("WAIT", "sequences that wait", 4, lambda m: str(m.waiting), lambda m: m.waiting,
               right=True, keep=65, is_descending=True),
        Column("USERS", "requests that use it", 5, lambda m: str(m.users or "-"),
               lambda m: m.users, right=True, keep=30, is_descending=True),
        Column("KEEP", "pinned, or the time that an idle model stays (ttl)", 7, _kept, _kept,
               right=True, keep=55, role=lambda m: "accent" if m.pinned else "text"),
        Column("IDLE", "since its last use", 6, lambda m: seconds(m.idle_s), lambda m: m.idle_s,
               right=True, keep=35, is_descending=True),
        Column("FOR", "tenant that has reserved it", 7, lambda m: m.reserved or "-",
               lambda m: m.reserved, keep=15),
        Column("TIERS", "KV pages that moved off the device", 16, _tiers, _tiers, keep=12,
               role=lambda m: "cached" if m.tiers else "dim"),
        Column("WAITS FOR", "what its waiting requests wait for", 16, lambda m: m.why or "-",
               lambda m: m.why, keep=14, role=lambda m: "warn" if m.why else "dim"),
        Column("DEVICE", "where it is", 6, lambda m: m.device or "-", lambda m: m.device,
               keep=50, role=lambda _: "dim"),
        Column("MODEL", "name", 0, lambda m: m.name, lambda m: m.name, keep=100,
               role=lambda m: "strong" if m.state in ("ready", "busy") else "text"),
    ),
    items=lambda snapshot: snapshot.models,
    key=lambda m: m.name,
    words=lambda m: f"{m.name} {m.state} {m.kind} {m.device}",
    sort="STATE",
    empty="no model in the store",
)  # fmt: skip

SECTIONS: tuple[Section[Any], ...] = (PROCESSES, QUEUE, THREADS, LOCKS, MODELS)
