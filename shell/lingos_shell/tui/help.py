"""The help window: the keys that work here, from the bindings themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lingos_shell.tui.dialogs import Page
from lingos_shell.tui.spans import Line

if TYPE_CHECKING:
    from textual.app import App
    from textual.dom import DOMNode

KEYS = 22


def help_page(app: App[None]) -> Page:
    """A window with the keys of everything that has the keyboard now, nearest first."""
    return Page("Keys", help_lines(app))


def help_lines(app: App[None]) -> list[Line]:
    """One line per binding, below the name of what it belongs to; nothing twice."""
    lines: list[Line] = []
    seen: set[str] = set()
    for node, title in _places(app):
        rows = _rows(app, node, seen)
        if rows:
            lines += [((title, "accent"),), *rows, ()]
    return lines


def _places(app: App[None]) -> list[tuple[DOMNode, str]]:
    from lingos_shell.tui.scheduler.pane import SchedulerPane

    places: list[tuple[DOMNode, str]] = [(app, "Everywhere")]
    places += [(node, _title(node)) for node in app.screen.walk_children()
               if node._bindings.key_to_bindings and not isinstance(node, SchedulerPane)
               and type(node).__module__.startswith("lingos_shell")]  # fmt: skip
    places.append((app.screen, "This screen"))
    places += [(pane, "Scheduler (while it has the keyboard)")
               for pane in app.screen.query(SchedulerPane)]  # fmt: skip
    return places


def _title(node: DOMNode) -> str:
    return str(getattr(node, "HELP_TITLE", type(node).__name__))


def _rows(app: App[None], node: DOMNode, seen: set[str]) -> list[Line]:
    by_action: dict[str, list[str]] = {}
    about: dict[str, str] = {}
    for key, bindings in node._bindings.key_to_bindings.items():
        for binding in bindings:
            if binding.id is None or not (binding.tooltip or binding.description):
                continue
            by_action.setdefault(binding.id, []).append(app.get_key_display(binding.with_key(key)))
            about[binding.id] = binding.tooltip or binding.description
    rows: list[Line] = []
    for name, keys in by_action.items():
        if name not in seen:
            seen.add(name)
            shown = "  ".join(dict.fromkeys(keys))
            rows.append(((f"  {shown:<{KEYS}}", "strong"), (about[name], "text")))
    return rows
