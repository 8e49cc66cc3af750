"""One immutable picture of everything that the scheduler pane draws."""

from __future__ import annotations

import msgspec

from lingos_kernel.engine.stat_rows import HoldStats, SequenceStats, TierStats


class Picture(msgspec.Struct, frozen=True):
    """Base of the parts of a snapshot."""


class ProcessRow(Picture, frozen=True):
    """A process: a session, job or agent."""

    pid: int
    parent: int
    principal: str
    tenant: str
    caller: str
    """human, code, notebook, http, model, plugin, kernel."""
    kind: str
    """session, job, agent, call."""
    command: str
    model: str
    state: str
    """running, waiting, idle, stopped, ended."""
    priority: int
    queue_position: int | None
    waited_s: float
    prompt_tokens: int
    output_tokens: int
    tokens_per_s: float
    first_token_s: float | None
    kv_bytes: int
    calls: int
    """Calls in flight."""
    age_s: float


class CallRow(Picture, frozen=True):
    """A call in the pipeline, waiting or running."""

    call_id: str
    pid: int
    principal: str
    syscall: str
    state: str
    """queued, running."""
    priority: int
    queue_position: int | None
    age_s: float


class ThreadRow(Picture, frozen=True):
    """A thread of the syscall pool."""

    name: str
    state: str
    """idle, running, blocked."""
    syscall: str
    pid: int
    waiting_on: str
    frame: str
    """file:line function, of the innermost frame."""
    cpu_s: float
    busy_s: float


class LockRow(Picture, frozen=True):
    """A named mutex, semaphore, read-write lock or barrier."""

    name: str
    kind: str
    holders: tuple[int, ...]
    """Pids."""
    waiters: tuple[int, ...]
    available: int


class QueueRow(Picture, frozen=True):
    """A message queue."""

    name: str
    depth: int
    bound: int
    consumers: int
    put_total: int
    taken_total: int
    oldest_s: float


class ModelRow(Picture, frozen=True):
    """A model in the store, and in memory when loaded."""

    name: str
    state: str
    """stored, waiting (for room), loading, ready, busy, leaving."""
    kind: str
    parameters: int
    weight_bytes: int
    kv_bytes: int
    kv_used_bytes: int
    kv_cached_bytes: int
    context_tokens: int
    running: int
    waiting: int
    device: str
    pinned: bool
    idle_s: float
    ttl_s: float = 0.0
    """It leaves the memory after being idle for so long; 0: it stays."""
    users: int = 0
    """Requests that use it."""
    reserved: str = ""
    """The tenant that keeps it in memory for a time."""
    why: str = ""
    """What the requests that wait for it wait for."""
    tiers: tuple[TierStats, ...] = ()
    """Where its KV pages go that the device has no room for."""
    kv_held_bytes: int = 0
    """Of those used: kept for programs between two turns (`Snapshot.holds`)."""
    kv_held_tenant_most_bytes: int = 0
    """How much of it one tenant may hold."""


class DeviceRow(Picture, frozen=True):
    """A device and where its memory went, in bytes; None where the device does not tell."""

    name: str
    description: str
    total_bytes: int
    budget_bytes: int
    """What the weights and KV pools of all models may take together."""
    weights_bytes: int
    kv_total_bytes: int
    kv_used_bytes: int
    kv_cached_bytes: int
    kv_free_bytes: int
    other_bytes: int
    utilisation: float | None
    """0 to 1."""
    bandwidth_share: float | None
    power_watts: float | None
    temperature_c: float | None


class Rates(Picture, frozen=True):
    """Throughput and hit rates over the last seconds, and totals since the kernel's start."""

    prompt_tokens_per_s: float
    output_tokens_per_s: float
    prefix_hit_share: float
    """Cached prompt tokens over all prompt tokens, 0 to 1."""
    preemptions_total: int
    prompt_tokens_total: int
    """That were computed; the cached ones are not among them."""
    output_tokens_total: int
    cached_tokens_total: int
    step_s: float
    floor_share: float


class Sums(Picture, frozen=True):
    """The sums of the source papers, with their terms (see docs/reference/sums.md)."""

    memory_budget_bytes: int
    """M: weights and KV pools of the models in memory"""
    memory_per_inference_bytes: float
    """C: weights share plus the KV pages that an inference needs, as measured."""
    inferences_that_fit: int
    """N = M // C"""
    load: float
    """L = N_running * C / M"""
    thread_task_s: float
    """T_task = sum(T_i) + T * S"""
    thread_switch_s: float
    """S"""
    threads_wanted: float
    """N = T_task / (T_avg + S)"""
    library_efficiency: float
    """E = sum(N_i / C_i)"""
    decode_floor_s: float
    """max((W + sum KV_i) / bandwidth, 2 P B / flops)"""


class KernelRow(Picture, frozen=True):
    """The kernel itself."""

    version: str
    os_pid: int
    engine_os_pid: int | None
    engine_restarts: int
    uptime_s: float
    policy: str
    calls_total: int
    calls_failed: int
    accepting: bool


class Snapshot(Picture, frozen=True):
    """Everything at one moment; `time_s` is Unix time."""

    time_s: float
    kernel: KernelRow
    devices: tuple[DeviceRow, ...]
    rates: Rates
    sums: Sums
    processes: tuple[ProcessRow, ...]
    calls: tuple[CallRow, ...]
    sequences: tuple[SequenceStats, ...]
    threads: tuple[ThreadRow, ...]
    locks: tuple[LockRow, ...]
    queues: tuple[QueueRow, ...]
    models: tuple[ModelRow, ...]
    holds: tuple[HoldStats, ...] = ()
    """Pages that are kept for programs between two turns."""
