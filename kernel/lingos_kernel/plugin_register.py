"""What one register hook of a plugin adds, before it is handed over."""

from __future__ import annotations

from typing import Any

from lingos_kernel import hookspecs
from lingos_kernel.errors import PluginError
from lingos_kernel.registry import Sink


class Additions(hookspecs.Register):
    """What a plugin's register hook adds to; handed over when the hook has ended."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.problems: list[str] = []
        self._added: list[tuple[Any, str | None]] = []

    def add(self, item: Any, /, *, name: str | None = None) -> None:
        """Register one item under its own name, or the given one; see `PluginRecord.error`."""
        self._added.append((item, name))

    def hand_over(self, sink: Sink, owner: str) -> None:
        """Give the items to the sink; one that it refuses leaves the others alone."""
        for item, name in self._added:
            try:
                self.names.append(sink.add(item, owner=owner, name=name))
            except PluginError as error:
                self.problems.append(str(error))
