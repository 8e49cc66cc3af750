"""Building the snapshot: reads every room, changes none."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field

import lingos_kernel
from lingos_kernel.config import Config
from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.messages import DeviceInfo, EngineStats
from lingos_kernel.engine.requests import Requests
from lingos_kernel.engine.stat_rows import SequenceStats
from lingos_kernel.models.store import ModelStore
from lingos_kernel.processes.process import Process
from lingos_kernel.processes.table import ProcessTable
from lingos_kernel.queue.broker import Broker
from lingos_kernel.queue.mailbox import Mailboxes
from lingos_kernel.queue.rows import QueueState
from lingos_kernel.queue.topics import Topics
from lingos_kernel.syscalls.dispatch import Dispatcher
from lingos_kernel.telemetry.devices import DeviceReading, read_device
from lingos_kernel.telemetry.model_rows import model_rows
from lingos_kernel.telemetry.snapshot import (
    CallRow,
    DeviceRow,
    KernelRow,
    LockRow,
    ProcessRow,
    QueueRow,
    Rates,
    Snapshot,
    ThreadRow,
)
from lingos_kernel.telemetry.sums import sums
from lingos_kernel.threads.locks import Locks
from lingos_kernel.threads.pool import ElasticPool

IDLE_S = 2.0
"""An engine with nothing at hand that was silent for so long has no rates any more."""


@dataclass(slots=True)
class Sources:
    """The rooms that a snapshot is read from."""

    config: Config
    engine: BudgetedEngine
    store: ModelStore
    processes: ProcessTable
    requests: Requests
    dispatcher: Dispatcher
    pool: ElasticPool
    locks: Locks
    mailboxes: Mailboxes
    topics: Topics
    broker: Broker
    clock: Callable[[], float]
    started_s: float
    read_device: Callable[[str], DeviceReading] = field(default=read_device)


async def collect(sources: Sources) -> Snapshot:
    """The state of everything now; the store is read in a thread."""
    stored = await asyncio.to_thread(sources.store.list)
    jobs = await sources.broker.rows()
    stats = sources.engine.stats
    loaded = sources.engine.models
    device = sources.engine.device or DeviceInfo("cpu", "cpu", 0)
    reading = sources.read_device(device.name)
    by_pid = _by_pid(stats.sequences)
    now = sources.clock()
    pool_sums = sources.pool.sums()
    return Snapshot(
        time_s=time.time(),
        kernel=_kernel_row(sources, now),
        devices=(_device_row(device, reading, stats, sources.engine.keeper.weights.budget_bytes),),
        rates=_rates(stats, now),
        sums=sums(stats, loaded, pool_sums, sources.dispatcher.books.timings()),
        processes=tuple(
            _process_row(p, by_pid.get(p.pid, ()), sources.requests, now)
            for p in sources.processes.processes()
        ),
        calls=_call_rows(sources.dispatcher),
        sequences=stats.sequences,
        holds=stats.holds,
        threads=tuple(ThreadRow(*astuple(row)) for row in sources.pool.rows()),
        locks=tuple(LockRow(*astuple(row)) for row in sources.locks.rows()),
        queues=_queue_rows(sources, jobs),
        models=model_rows(stored, stats, sources.engine, device.name),
    )


def _queue_rows(sources: Sources, jobs: Iterable[QueueState]) -> tuple[QueueRow, ...]:
    rows = (*sources.mailboxes.rows(), *sources.topics.rows(), *jobs)
    return tuple(QueueRow(*astuple(row)) for row in rows)


def _by_pid(sequences: Iterable[SequenceStats]) -> dict[int, list[SequenceStats]]:
    grouped: dict[int, list[SequenceStats]] = {}
    for sequence in sequences:
        grouped.setdefault(sequence.pid, []).append(sequence)
    return grouped


def _kernel_row(sources: Sources, now: float) -> KernelRow:
    dispatcher = sources.dispatcher
    return KernelRow(
        version=lingos_kernel.__version__,
        os_pid=os.getpid(),
        engine_os_pid=sources.engine.os_pid,
        engine_restarts=sources.engine.restarts,
        uptime_s=now - sources.started_s,
        policy=sources.engine.stats.policy or sources.config.engine.policy,
        calls_total=dispatcher.books.calls_total,
        calls_failed=dispatcher.books.calls_failed,
        accepting=dispatcher.stats().accepting,
    )


def _process_row(
    process: Process, sequences: Sequence[SequenceStats], requests: Requests, now: float
) -> ProcessRow:
    work = requests.work(process.pid)
    positions = [s.queue_position for s in sequences if s.queue_position is not None]
    waits = sequences and len(positions) == len(sequences)
    return ProcessRow(
        pid=process.pid,
        parent=process.parent,
        principal=process.principal.name,
        tenant=process.principal.tenant,
        caller=process.principal.kind,
        kind=process.kind,
        command=process.command,
        model=work.model or process.model,
        state="waiting" if waits and process.state == "running" else process.state,
        priority=process.priority,
        queue_position=min(positions) if waits else None,
        waited_s=max([process.waited_s(now), *(s.waited_s for s in sequences)]),
        prompt_tokens=work.prompt_tokens + sum(s.prompt_tokens for s in sequences),
        output_tokens=work.output_tokens + sum(s.output_tokens for s in sequences),
        tokens_per_s=sum(s.tokens_per_s for s in sequences if s.state == "decode"),
        first_token_s=next(
            (s.first_token_s for s in sequences if s.first_token_s is not None), work.first_token_s
        ),
        kv_bytes=sum(s.kv_bytes for s in sequences),
        calls=len(process.calls),
        age_s=now - process.created_s,
    )


def _call_rows(dispatcher: Dispatcher) -> tuple[CallRow, ...]:
    return tuple(CallRow(*astuple(state)) for state in dispatcher.calls())


def _device_row(
    device: DeviceInfo, reading: DeviceReading, stats: EngineStats, budget_bytes: int
) -> DeviceRow:
    weights = sum(model.weight_bytes for model in stats.models)
    kv_total = sum(model.page_bytes * model.pages_total for model in stats.models)
    kv_used = sum(model.page_bytes * model.pages_used for model in stats.models)
    kv_cached = sum(model.page_bytes * model.pages_cached for model in stats.models)
    # A CPU's pages take memory only once they are written: there the process itself tells.
    ours = stats.rss_bytes if device.name == "cpu" else weights + kv_total
    return DeviceRow(
        name=device.name,
        description=device.description,
        total_bytes=reading.total_bytes,
        budget_bytes=budget_bytes or weights + kv_total,
        weights_bytes=weights,
        kv_total_bytes=kv_total,
        kv_used_bytes=kv_used,
        kv_cached_bytes=kv_cached,
        kv_free_bytes=kv_total - kv_used - kv_cached,
        other_bytes=max(reading.used_bytes - ours, 0),
        utilisation=reading.utilisation,
        bandwidth_share=reading.bandwidth_share,
        power_watts=reading.power_watts,
        temperature_c=reading.temperature_c,
    )


def _rates(stats: EngineStats, now: float) -> Rates:
    """What the engine told last; it tells nothing while it has nothing to do."""
    computed, cached = stats.prompt_tokens_total, stats.cached_tokens_total
    is_busy = any(model.running or model.waiting for model in stats.models)
    is_idle = not is_busy and now - stats.time_s > IDLE_S
    return Rates(
        prompt_tokens_per_s=0.0 if is_idle else stats.prompt_tokens_per_s,
        output_tokens_per_s=0.0 if is_idle else stats.output_tokens_per_s,
        prefix_hit_share=cached / (computed + cached) if cached else 0.0,
        preemptions_total=stats.preemptions_total,
        prompt_tokens_total=computed,
        output_tokens_total=stats.output_tokens_total,
        cached_tokens_total=cached,
        step_s=stats.step_s,
        floor_share=0.0 if is_idle else stats.floor_share,
    )
