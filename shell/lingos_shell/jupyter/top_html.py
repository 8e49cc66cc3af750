"""The scheduler's picture as HTML. Pure: a snapshot in, escaped markup out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from lingos_kernel.telemetry.snapshot import (
    CallRow,
    DeviceRow,
    ModelRow,
    ProcessRow,
    Snapshot,
    ThreadRow,
)
from lingos_shell.units import bytes_text, duration_text

MOST_ROWS = 200
"""Rows of a table that are shown; a note says how many are not."""

Row = Sequence[str]


def top_html(snapshot: Snapshot, *, has_buttons: bool = True) -> str:
    """The whole view; without buttons it is a still for saved notebooks."""
    parts = [
        _header(snapshot),
        *(_device(device) for device in snapshot.devices),
        _processes(snapshot.processes, has_buttons=has_buttons),
        _waiting(snapshot.calls),
        _models(snapshot.models),
        _threads(snapshot.threads),
    ]
    return f'<div class="lingos-top">{"".join(parts)}</div>'


def _header(snapshot: Snapshot) -> str:
    kernel, rates, sums = snapshot.kernel, snapshot.rates, snapshot.sums
    running = sum(sequence.queue_position is None for sequence in snapshot.sequences)
    facts = (
        ("policy", kernel.policy or "-"),
        ("prompt", f"{rates.prompt_tokens_per_s:.0f} tok/s"),
        ("output", f"{rates.output_tokens_per_s:.1f} tok/s"),
        ("running", str(running)),
        ("waiting", str(len(snapshot.sequences) - running)),
        ("prefix hits", f"{rates.prefix_hit_share:.0%}"),
        ("preempted", str(rates.preemptions_total)),
        ("of the limit", f"{rates.floor_share:.0%}"),
        ("load L", f"{sums.load:.2f}"),
        ("up", duration_text(kernel.uptime_s)),
    )
    cells = "".join(f"<span><b>{escape(value)}</b> {name}</span>" for name, value in facts)
    return f'<div class="facts">{cells}</div>'


def _device(device: DeviceRow) -> str:
    total = max(device.budget_bytes, 1)
    shares = (
        ("weights", device.weights_bytes),
        ("kv", device.kv_used_bytes),
        ("cached", device.kv_cached_bytes),
        ("other", device.other_bytes),
    )
    bars = "".join(
        f'<i class="{name}" style="width:{min(size / total, 1):.1%}"'
        f' title="{name} {bytes_text(size)}"></i>'
        for name, size in shares
    )
    words = ", ".join(f"{name} {bytes_text(size)}" for name, size in shares if size)
    return (
        f'<div class="device"><span>{escape(device.name)}</span>'
        f'<div class="bar" role="img" aria-label="{words}">{bars}</div>'
        f"<span>{words} of {bytes_text(total)}</span></div>"
    )


def _processes(rows: Sequence[ProcessRow], *, has_buttons: bool) -> str:
    columns = (
        "pid", "who", "from", "command", "state", "nice", "queue",
        "tok/s", "tokens", "first", "KV", "time",
    )  # fmt: skip
    cells = (
        (
            str(row.pid),
            row.principal,
            row.caller,
            f"{row.command} {row.model}".strip(),
            row.state,
            str(row.priority),
            "-" if row.queue_position is None else str(row.queue_position + 1),
            f"{row.tokens_per_s:.1f}",
            f"{row.prompt_tokens}+{row.output_tokens}",
            "-" if row.first_token_s is None else duration_text(row.first_token_s),
            bytes_text(row.kv_bytes),
            duration_text(row.age_s),
        )
        for row in rows
    )
    buttons = (_buttons(row.pid) for row in rows) if has_buttons else None
    return _table("Processes", columns, cells, len(rows), buttons)


def _buttons(pid: int) -> str:
    actions = (("cancel", "end it", "&times;"), ("sooner", "more urgent", "&minus;"),
               ("later", "less urgent", "+"))  # fmt: skip
    return "".join(
        f'<button data-action="{action}" data-pid="{pid}" title="{title}"'
        f' aria-label="{action} {pid}">{sign}</button>'
        for action, title, sign in actions
    )


def _waiting(calls: Sequence[CallRow]) -> str:
    waiting = [call for call in calls if call.state == "queued"]
    cells = (
        (
            str((call.queue_position or 0) + 1),
            call.syscall,
            str(call.pid),
            call.principal,
            duration_text(call.age_s),
        )
        for call in waiting
    )
    return _table("Waiting calls", ("#", "syscall", "pid", "who", "for"), cells, len(waiting))


def _models(models: Sequence[ModelRow]) -> str:
    cells = (
        (
            model.name,
            model.state,
            model.device or "-",
            bytes_text(model.weight_bytes),
            f"{bytes_text(model.kv_used_bytes)} of {bytes_text(model.kv_bytes)}",
            str(model.running),
            str(model.waiting),
        )
        for model in models
    )
    columns = ("model", "state", "device", "weights", "KV", "running", "waiting")
    return _table("Models", columns, cells, len(models))


def _threads(threads: Sequence[ThreadRow]) -> str:
    busy = [thread for thread in threads if thread.state != "idle"]
    cells = (
        (thread.name, thread.state, thread.syscall, str(thread.pid), thread.waiting_on or "-")
        for thread in busy
    )
    title = f"Threads ({len(busy)} of {len(threads)} at work)"
    return _table(title, ("thread", "state", "syscall", "pid", "waits for"), cells, len(busy))


def _table(
    title: str,
    columns: Row,
    rows: Iterable[Row],
    count: int,
    buttons: Iterable[str] | None = None,
) -> str:
    if not count:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(_lines(rows, buttons))
    note = f"<p>and {count - MOST_ROWS} more</p>" if count > MOST_ROWS else ""
    return (
        f"<h4>{escape(title)}</h4><table><thead><tr>{head}{'<th></th>' if buttons else ''}</tr>"
        f"</thead><tbody>{body}</tbody></table>{note}"
    )


def _lines(rows: Iterable[Row], buttons: Iterable[str] | None) -> Iterator[str]:
    more = iter(buttons) if buttons is not None else None
    for index, row in enumerate(rows):
        if index == MOST_ROWS:
            return
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        yield f"<tr>{cells}{f'<td>{next(more)}</td>' if more else ''}</tr>"
