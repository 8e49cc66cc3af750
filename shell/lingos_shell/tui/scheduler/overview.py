"""A few lines about the tables that are not open. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingos_shell.tui.scheduler.sections import SECTIONS
from lingos_shell.tui.spans import Line, Span, clean, fit_line, pack
from lingos_shell.tui.units import short_bytes

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot

MODEL_SHOWN = ("busy", "ready", "loading")


def overview(snapshot: Snapshot, open_section: str, width: int) -> list[Line]:
    """One line for each of threads, locks and models, unless it is the open table."""
    lines = {
        "threads": _threads(snapshot),
        "locks": _locks(snapshot),
        "models": _models(snapshot),
    }
    return [
        fit_line(pack(groups, width, gap=2), width)
        for name, groups in lines.items()
        if name != open_section
    ]


def tab_spans(snapshot: Snapshot | None, open_section: str) -> list[tuple[str, tuple[Span, ...]]]:
    """The tabs in order: the section's name, and what its tab says."""
    tabs = []
    for number, section in enumerate(SECTIONS, start=1):
        count = "" if snapshot is None else f" {len(section.items(snapshot))}"
        if section.name == open_section:
            spans: tuple[Span, ...] = ((f" {number} {section.title}{count} ", "chip"),)
        else:
            spans = ((f" {number} ", "dim"), (section.title, "label"), (f"{count} ", "dim"))
        tabs.append((section.name, spans))
    return tabs


def _threads(snapshot: Snapshot) -> list[tuple[Span, ...]]:
    threads = snapshot.threads
    busy = [thread for thread in threads if thread.state != "idle"]
    groups: list[tuple[Span, ...]] = [
        (("threads ", "label"), (f"{len(busy)}/{len(threads)}", "strong"))
    ]
    for thread in busy:
        what: tuple[Span, ...] = ((f"{thread.pid or '-'} ", "dim"), (clean(thread.syscall), "text"))
        if thread.waiting_on:
            what += ((f" waits {clean(thread.waiting_on)}", "warn"),)
        groups.append(what)
    return groups


def _locks(snapshot: Snapshot) -> list[tuple[Span, ...]]:
    held = [lock for lock in snapshot.locks if lock.holders or lock.waiters]
    groups: list[tuple[Span, ...]] = [(("locks   ", "label"), (str(len(held)), "strong"))]
    for lock in held:
        spans: tuple[Span, ...] = ((f"{clean(lock.name)} ", "text"),)
        spans += ((f"held by {' '.join(map(str, lock.holders)) or '-'}", "dim"),)
        if lock.waiters:
            spans += ((f", {len(lock.waiters)} wait", "warn"),)
        groups.append(spans)
    return groups


def _models(snapshot: Snapshot) -> list[tuple[Span, ...]]:
    loaded = [model for model in snapshot.models if model.state in MODEL_SHOWN]
    groups: list[tuple[Span, ...]] = [
        (("models  ", "label"), (f"{len(loaded)}/{len(snapshot.models)}", "strong"))
    ]
    for model in loaded:
        spans: tuple[Span, ...] = (
            (clean(model.name), "text"),
            (f" {short_bytes(model.weight_bytes)}", "weights"),
        )
        if model.pinned:
            spans += ((" pinned", "accent"),)
        groups.append(spans)
    return groups
