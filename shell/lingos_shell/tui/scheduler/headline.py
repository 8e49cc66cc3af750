"""The lines above the tables: devices, rates, sums, graphs. Pure: a snapshot in, lines out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lingos_shell.tui.scheduler.bars import bar, graph
from lingos_shell.tui.scheduler.history import (
    History,
    kv_share,
    output_per_s,
    prompt_per_s,
    running,
    waiting,
)
from lingos_shell.tui.spans import Line, Role, Span, clean, fit, fit_line, pack, width_of
from lingos_shell.tui.units import percent, rate, seconds, short_bytes, short_count

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import DeviceRow, Snapshot

NARROW = 90
IN_TITLE = 4
"""Groups of the rates that stand in the title line of the screen."""
BAR = 18


def fact(label: str, value: str, role: Role = "strong") -> tuple[Span, ...]:
    """A label and its value."""
    return ((f"{label} ", "label"), (value, role))


def figure(value: str, label: str, role: Role = "strong") -> tuple[Span, ...]:
    """A value and what it counts."""
    return ((value, role), (f" {label}", "label"))


def rate_groups(snapshot: Snapshot) -> list[tuple[Span, ...]]:
    """Throughput, load and hits, the most important first."""
    rates = snapshot.rates
    waits = waiting(snapshot)
    share = kv_share(snapshot)
    return [
        figure(rate(output_per_s(snapshot)), "tok/s", "good"),
        figure(str(running(snapshot)), "running"),
        figure(str(waits), "waiting", "warn" if waits else "strong"),
        fact("KV", percent(share), "bad" if share > 0.95 else "strong"),
        fact("prefix hits", percent(rates.prefix_hit_share)),
        fact("prompt/s", rate(prompt_per_s(snapshot))),
        fact("of floor", percent(rates.floor_share)),
        fact("preempted", str(rates.preemptions_total),
             "warn" if rates.preemptions_total else "strong"),
    ]  # fmt: skip


def sum_groups(snapshot: Snapshot) -> list[tuple[Span, ...]]:
    """The sums of the design with their letters, then the thread pool."""
    sums = snapshot.sums
    busy = sum(thread.state != "idle" for thread in snapshot.threads)
    return [
        fact("M", short_bytes(sums.memory_budget_bytes)),
        fact("C", short_bytes(sums.memory_per_inference_bytes)),
        fact("N", short_count(sums.inferences_that_fit)),
        fact("L", f"{sums.load:.2f}", "bad" if sums.load > 1 else "strong"),
        fact("threads", f"{busy}/{len(snapshot.threads)}"),
        fact("wanted", f"{sums.threads_wanted:.1f}"),
        fact("E", short_count(sums.library_efficiency)),
        fact("step", seconds(snapshot.rates.step_s)),
        fact("policy", clean(snapshot.kernel.policy)),
        fact("calls", short_count(snapshot.kernel.calls_total)),
        fact("failed", str(snapshot.kernel.calls_failed),
             "bad" if snapshot.kernel.calls_failed else "strong"),
        fact("engine restarts", str(snapshot.kernel.engine_restarts),
             "warn" if snapshot.kernel.engine_restarts else "strong"),
    ]  # fmt: skip


def device_lines(device: DeviceRow, width: int, *, mono: bool) -> list[Line]:
    """One device: where its memory went, its KV pages, how busy it is."""
    name: tuple[Span, ...] = ((fit(device.name, 7), "accent"),)
    indent: tuple[Span, ...] = ((" " * 7, "text"),)
    memory = (
        *fact("mem", ""),
        *bar(
            [
                (device.weights_bytes, "weights"),
                (device.kv_used_bytes, "kv"),
                (device.kv_cached_bytes, "cached"),
                (device.other_bytes, "other"),
            ],
            device.total_bytes,
            BAR,
            mono=mono,
        ),
    )
    legend: list[tuple[Span, ...]] = [
        fact("weights", short_bytes(device.weights_bytes), "weights"),
        _kv_group(device),
        fact("other", short_bytes(device.other_bytes), "other"),
        fact("of", short_bytes(device.total_bytes), "text"),
    ]  # fmt: skip
    pages = (
        *fact("KV", ""),
        *bar(
            [(device.kv_used_bytes, "kv"), (device.kv_cached_bytes, "cached")],
            device.kv_total_bytes,
            BAR,
            mono=mono,
        ),
    )
    gap = 2 if width < NARROW else 3
    return [
        pack([name, memory, *legend], width, gap=gap),
        pack(
            [indent, (("KV  ", "label"), *pages[1:]), *_use_groups(device, mono=mono)],
            width,
            gap=gap,
        ),
    ]


def _kv_group(device: DeviceRow) -> tuple[Span, ...]:
    """KV bytes in use + cached / all."""
    if not device.kv_total_bytes:
        return fact("KV", "-", "dim")
    return (
        *fact("KV", short_bytes(device.kv_used_bytes) if device.kv_used_bytes else "0", "kv"),
        ("+", "dim"), (short_bytes(device.kv_cached_bytes), "cached"),
        ("/", "dim"), (short_bytes(device.kv_total_bytes), "text"),
    )  # fmt: skip


def _use_groups(device: DeviceRow, *, mono: bool) -> list[tuple[Span, ...]]:
    groups: list[tuple[Span, ...]] = []
    if device.utilisation is not None:
        level = device.utilisation
        role: Role = "bad" if level > 0.95 else "good"
        meter = bar([(level, role)], 1.0, BAR // 2, mono=mono)
        groups.append((*fact("use", ""), *meter, (f" {percent(level)}", "strong")))
    if device.bandwidth_share is not None:
        groups.append(fact("bandwidth", percent(device.bandwidth_share)))
    if device.power_watts is not None:
        groups.append(fact("power", f"{device.power_watts:.0f} W"))
    if device.temperature_c is not None:
        hot: Role = "bad" if device.temperature_c >= 85 else "strong"
        groups.append(fact("temp", f"{device.temperature_c:.0f} °C", hot))
    groups.append((((clean(device.description)), "dim"),))
    return groups


def headline(snapshot: Snapshot, width: int, *, mono: bool, is_brief: bool) -> list[Line]:
    """Rates (those of the title aside), devices, sums; `is_brief`: a line of each at most."""
    lines = [pack(rate_groups(snapshot)[IN_TITLE:], width)]
    for device in snapshot.devices:
        drawn = device_lines(device, width, mono=mono)
        lines.extend(drawn[:1] if is_brief else drawn)
    if not is_brief:
        lines.append(pack(sum_groups(snapshot), width))
    return [fit_line(line, width) for line in lines]


def graph_lines(history: History, width: int, height: int) -> list[Line]:
    """Graphs side by side, as many as fit, each with its title and latest value above it."""
    panels = _panels(history)
    count = max(1, min(len(panels), width // 24))
    each = (width - 2 * (count - 1)) // count
    columns = [_panel(panel, each, height) for panel in panels[:count]]
    lines: list[Line] = []
    for row in range(height + 1):
        spans: list[Span] = []
        for number, column in enumerate(columns):
            if number:
                spans.append(("  ", "text"))
            spans.extend(column[row])
        lines.append(fit_line(tuple(spans), width))
    return lines


Panel = tuple[str, str, Sequence[float], float, Role]


def _panels(history: History) -> list[Panel]:
    def latest(values: Sequence[float]) -> float:
        return values[-1] if values else 0.0

    def top(values: Sequence[float]) -> float:
        return max(values, default=0.0)

    h = history
    return [
        ("tok/s", rate(latest(h.output_per_s)), h.output_per_s, top(h.output_per_s), "good"),
        ("queue", f"{latest(h.queue_depth):.0f}", h.queue_depth, top(h.queue_depth), "warn"),
        ("KV", percent(latest(h.kv_share)), h.kv_share, 1.0, "kv"),
        ("memory", short_bytes(latest(h.memory_bytes)), h.memory_bytes, top(h.memory_bytes),
         "weights"),
        ("prompt/s", rate(latest(h.prompt_per_s)), h.prompt_per_s, top(h.prompt_per_s), "accent"),
    ]  # fmt: skip


def _panel(panel: Panel, width: int, height: int) -> list[Line]:
    title, value, values, top, role = panel
    head: Line = ((f"{title} ", "label"), (value, "strong"))
    line = (*head, (" ", "text"), ("·" * max(width - width_of(head) - 1, 0), "free"))
    return [fit_line(line, width), *graph(values, width, height, top, role)]
