"""The last line: the keys that work here, as many as fit; a click presses one."""

from __future__ import annotations

from typing import Any

from textual import events
from textual.screen import Screen

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.spans import Line, Span, fit_line, width_of

KEEP = (
    "app.help", "screen.leave", "screen.top", "app.palette", "app.quit", "scheduler.kill",
    "scheduler.sort", "scheduler.renice_up", "scheduler.renice_down", "scheduler.search",
    "scheduler.tree", "scheduler.filter", "models.", "syscalls.", "plugins.", "audit.", "list.",
    "screen.",
)  # fmt: skip
"""When there is no room for all, those that come first here stay."""
ORDER = (
    "app.help", "screen.leave", "screen.", "app.palette", "scheduler.", "models.", "syscalls.",
    "plugins.", "audit.", "list.", "app.quit",
)  # fmt: skip

Entry = tuple[str, str, str, str]
"""Id, key, label, action."""


def shown_keys(entries: list[Entry], width: int) -> list[Entry]:
    """The entries that fit, in the order of the bar."""
    by_worth = sorted(entries, key=lambda entry: _place(KEEP, entry[0]))
    kept: list[Entry] = []
    left = width
    for entry in by_worth:
        size = width_of(_spans(entry)) + 1
        if size <= left + 1:
            kept.append(entry)
            left -= size
    return sorted(kept, key=lambda entry: (_place(ORDER, entry[0]), _key_order(entry[1])))


def _place(prefixes: tuple[str, ...], name: str) -> int:
    matches = (n for n, prefix in enumerate(prefixes) if name.startswith(prefix))
    return next(matches, len(prefixes))


def _key_order(key: str) -> tuple[int, str]:
    digits = key.removeprefix("F")
    return (int(digits) if digits.isdigit() else 99, key)


def _spans(entry: Entry) -> Line:
    _, key, label, _ = entry
    return ((key, "accent"), (f" {label}", "label"))


class KeyBar(SpanLines):
    """Docked at the bottom of every screen."""

    DEFAULT_CSS = "KeyBar { dock: bottom; height: 1; background: $surface; }"

    def on_mount(self) -> None:
        """Follow what has the keyboard."""
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)
        self._bindings_changed(self.screen)

    def _bindings_changed(self, _screen: Screen[Any]) -> None:
        if self.is_attached and self.screen is self.app.screen:
            entries = self._entries()
            self.show(lambda width: [_bar(entries, width)])

    def _entries(self) -> list[Entry]:
        entries: dict[str, Entry] = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and active.enabled and binding.id:
                key = self.app.get_key_display(binding)
                entries.setdefault(
                    binding.id, (binding.id, key, binding.description, binding.action)
                )
        return list(entries.values())

    async def on_click(self, event: events.Click) -> None:
        """Do what the clicked key does."""
        left = event.x
        for entry in shown_keys(self._entries(), self.size.width):
            size = width_of(_spans(entry)) + 1
            if left < size:
                await self._press(entry)
                return
            left -= size

    async def _press(self, entry: Entry) -> None:
        for active in self.screen.active_bindings.values():
            if active.binding.id == entry[0]:
                await self.app.run_action(active.binding.action, active.node)
                return


def _bar(entries: list[Entry], width: int) -> Line:
    spans: list[Span] = []
    for entry in shown_keys(entries, width):
        spans.extend(((" ", "text"),) if spans else ())
        spans.extend(_spans(entry))
    return fit_line(tuple(spans), width)
