"""Installed plugins: found without importing any, imported one by one with a time limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from lingos_kernel.errors import PluginFailed
from lingos_kernel.plugin_limits import in_words, run_limited

GROUP = "lingos"
BUILT_IN = "built in"

PluginState = Literal["available", "loaded", "disabled", "failed", "timed_out"]


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """A plugin as `lingos plugins` shows it."""

    name: str
    distribution: str
    """The package it came with; `built in` for the kernel's own."""
    version: str
    module: str
    state: PluginState
    """available: installed, not loaded yet. disabled: not among those to load, or turned off."""
    import_s: float = 0.0
    """How long its import and its register hooks took."""
    slow: bool = False
    """Whether they took longer than `plugins.slow_s`."""
    error: str = ""
    """What went wrong, the plugin named; what it offers besides still works when it is loaded."""
    provides: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names by kind: syscalls, models, drivers, policies, commands, panes, services."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An installed plugin that nobody has imported yet."""

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], Any]

    @classmethod
    def of(cls, entry: EntryPoint) -> Candidate:
        """The candidate that an entry point names."""
        dist = entry.dist
        return cls(
            entry.name,
            dist.name if dist else "",
            dist.version if dist else "",
            entry.value,
            entry.load,
        )

    def record(self, state: PluginState, **facts: Any) -> PluginRecord:
        """Its record in a state."""
        return PluginRecord(self.name, self.distribution, self.version, self.module, state, **facts)


def find_plugins() -> list[Candidate]:
    """Every installed plugin, by name; none is imported."""
    return sorted(
        (Candidate.of(entry) for entry in entry_points(group=GROUP)),
        key=lambda c: (c.name, c.distribution),
    )


def import_plugin(candidate: Candidate, *, limit_s: float) -> tuple[Any, float]:
    """The plugin's module or object, and the seconds that its import took.

    Raises what the import raised as `PluginFailed`, or `TimedOutError`.
    """
    outcome = run_limited(candidate.load, name=f"import {candidate.name}", limit_s=limit_s)
    if outcome.error is not None:
        raise PluginFailed(
            f"plugin {candidate.name} cannot be imported: {in_words(outcome.error)}",
            hint=_mend(candidate),
        ) from outcome.error
    return outcome.value, outcome.took_s


def _mend(candidate: Candidate) -> str:
    if not candidate.distribution:
        return "mend it, or leave it out of plugins.load"
    return f"reinstall or update {candidate.distribution}, or leave it out of plugins.load"


def choose(
    found: Iterable[Candidate], wanted: tuple[str, ...] | None
) -> tuple[list[Candidate], list[Candidate], list[str]]:
    """Candidates to load, those to leave, and wanted names that nobody has."""
    candidates = list(found)
    if wanted is None:
        return candidates, [], []
    names = {candidate.name for candidate in candidates}
    return (
        [c for c in candidates if c.name in wanted],
        [c for c in candidates if c.name not in wanted],
        [name for name in wanted if name not in names],
    )
