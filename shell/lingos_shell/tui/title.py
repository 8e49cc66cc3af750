"""The first line of every screen: the name, the model, and how things stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.message import Message

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.scheduler.headline import IN_TITLE, rate_groups
from lingos_shell.tui.spans import Line, Role, Span, clean, fit, fit_line, pack, width_of

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot
    from lingos_shell.tui.link import LinkStatus

NAME = " LingOS "
STATUS_ROLES: dict[str, Role] = {
    "starting": "warn",
    "attached": "good",
    "blind": "warn",
    "lost": "alarm",
}


def title_line(status: LinkStatus, snapshot: Snapshot | None, note: str, width: int) -> Line:
    """The title; when the kernel is not attached its status takes the place of the numbers."""
    name: tuple[Span, ...] = ((NAME, "chip"),)
    right: tuple[Span, ...] = ((f" {note} ", "accent"),) if note else ()
    left = width - width_of(right)
    if status.state != "attached":
        role = STATUS_ROLES[status.state]
        gap: Span = (" ", role if status.state == "lost" else "text")
        said = fit(f" {clean(status.message)} ", left - width_of(name) - 1)
        return (*name, gap, (said, role), *right)
    groups: list[tuple[Span, ...]] = [name]
    if snapshot is None:
        groups.append((("attached", "good"),))
    else:
        groups.append(((_model(snapshot), "strong"),))
        groups.extend(rate_groups(snapshot)[:IN_TITLE])
    return (*fit_line(pack(groups, left, gap=2), left), *right)


def _model(snapshot: Snapshot) -> str:
    ready = [model for model in snapshot.models if model.state in ("ready", "busy")]
    ready.sort(key=lambda model: (model.state != "busy", -model.weight_bytes))
    in_memory = [model.name for model in ready]
    if not in_memory:
        return "no model in memory"
    more = f" +{len(in_memory) - 1}" if len(in_memory) > 1 else ""
    return clean(in_memory[0]) + more


class TitleBar(SpanLines):
    """The title line, docked at the top."""

    DEFAULT_CSS = "TitleBar { dock: top; height: 1; background: $surface; }"

    class Ready(Message):
        """Raised when the title is there and can be filled."""

    def on_mount(self) -> None:
        """Ask to be filled."""
        self.post_message(self.Ready())
