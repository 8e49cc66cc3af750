"""The snapshot as text: what `lingos top` draws. Pure: a snapshot in, renderables out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from lingos_kernel.telemetry.snapshot import DeviceRow, ModelRow, Snapshot
from lingos_shell.process_table import process_table
from lingos_shell.tables import plain_table
from lingos_shell.units import bytes_text, duration_text

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def draw(snapshot: Snapshot) -> Iterator[RenderableType]:
    """A few lines of sums, then tables of devices, models, processes and waiting calls."""
    from rich.text import Text

    for line in header_lines(snapshot):
        yield Text(line)
    for title, table in _tables(snapshot):
        yield Text()
        if title:
            yield Text(title, style="bold")
        yield table


def header_lines(snapshot: Snapshot) -> list[str]:
    """The kernel, its rates and the sums of the design, one line each."""
    kernel, rates, sums = snapshot.kernel, snapshot.rates, snapshot.sums
    states = [process.state for process in snapshot.processes]
    counts = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    busy = sum(thread.state == "running" for thread in snapshot.threads)
    accepting = "" if kernel.accepting else ", takes no calls"
    return [
        f"lingos {kernel.version}  up {duration_text(kernel.uptime_s)}  policy {kernel.policy}"
        f"  calls {kernel.calls_total} ({kernel.calls_failed} failed)"
        f"  engine restarts {kernel.engine_restarts}{accepting}",
        f"processes {len(states)} ({counts})" if states else "processes 0",
        f"tokens/s  prompt {rates.prompt_tokens_per_s:.1f}  output {rates.output_tokens_per_s:.1f}"
        f"  prefix hits {rates.prefix_hit_share:.0%}  preemptions {rates.preemptions_total}"
        f"  step {rates.step_s * 1000:.1f} ms ({rates.floor_share:.0%} of the limit)",
        f"threads  {busy} of {len(snapshot.threads)} busy  wanted N = {sums.threads_wanted:.1f}"
        f"  T_task = {sums.thread_task_s:.3f} s",
        f"memory  M = {bytes_text(sums.memory_budget_bytes)}"
        f"  C = {bytes_text(sums.memory_per_inference_bytes)}"
        f"  N = {sums.inferences_that_fit}  L = {sums.load:.2f}"
        f"  library E = {sums.library_efficiency:.2f}",
        *(model.why for model in snapshot.models if model.why),
    ]


def _tables(snapshot: Snapshot) -> Iterator[tuple[str, Table]]:
    yield "", _devices(snapshot.devices)
    if snapshot.models:
        yield "", _models(snapshot.models)
    if any(model.tiers for model in snapshot.models):
        yield "", _tiers(snapshot.models)
    yield "", process_table(msgspec.to_builtins(snapshot.processes))
    waiting = [call for call in snapshot.calls if call.state == "queued"]
    if waiting:
        cells = [
            (str((call.queue_position or 0) + 1), call.syscall, str(call.pid), call.principal)
            for call in waiting
        ]
        yield "Waiting calls", plain_table(("#", "SYSCALL", "PID", "PRINCIPAL"), cells)


def _devices(devices: tuple[DeviceRow, ...]) -> Table:
    columns = ("DEVICE", "BUDGET", "WEIGHTS", "KV USED", "KV CACHED", "KV FREE", "OTHER", "USE")
    rows = [
        (
            device.name,
            bytes_text(device.budget_bytes),
            bytes_text(device.weights_bytes),
            bytes_text(device.kv_used_bytes),
            bytes_text(device.kv_cached_bytes),
            bytes_text(device.kv_free_bytes),
            bytes_text(device.other_bytes),
            "-" if device.utilisation is None else f"{device.utilisation:.0%}",
        )
        for device in devices
    ]
    return plain_table(columns, rows, right=columns[1:])


def _models(models: tuple[ModelRow, ...]) -> Table:
    columns = ("MODEL", "STATE", "DEVICE", "WEIGHTS", "KV", "RUNNING", "WAITING", "IDLE", "TTL")
    rows = [
        (
            model.name,
            model.state + (" pinned" if model.pinned else " reserved" if model.reserved else ""),
            model.device or "-",
            bytes_text(model.weight_bytes),
            f"{bytes_text(model.kv_used_bytes)} of {bytes_text(model.kv_bytes)}",
            str(model.running),
            str(model.waiting),
            duration_text(model.idle_s),
            duration_text(model.ttl_s) if model.ttl_s else "-",
        )
        for model in models
    ]
    return plain_table(columns, rows, right=columns[3:])


def _tiers(models: tuple[ModelRow, ...]) -> Table:
    columns = ("KV BELOW THE DEVICE", "TIER", "USED", "OF", "DOWN", "UP", "HIT TOKENS", "OFF")
    rows = [
        (
            model.name,
            tier.name,
            bytes_text(tier.used_bytes),
            bytes_text(tier.total_bytes),
            f"{tier.spilled_pages} pages",
            f"{tier.restored_pages} pages",
            str(tier.hit_tokens),
            tier.off_reason or "-",
        )
        for model in models
        for tier in model.tiers
    ]
    return plain_table(columns, rows, right=columns[2:7])
