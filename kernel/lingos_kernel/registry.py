"""Names and what plugins registered under them: the first keeps a name, both owners are told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from lingos_kernel.errors import NameCollision, PluginError


class Sink(Protocol):
    """Takes what plugins register; `Registry` and the syscall table implement it."""

    def add(self, item: Any, *, owner: str, name: str | None = None) -> str:
        """Register an item; returns its full name. Raises `PluginError`, `NameCollision`."""

    def remove_owner(self, owner: str) -> list[str]:
        """Forget all items of an owner; returns their names."""


class Registry:
    """Items of one kind by name. Reading takes no lock: each change replaces the mapping."""

    def __init__(self, kind: str) -> None:
        """`kind` is what one item is called in errors: policy, command, ..."""
        self.kind = kind
        self._items: dict[str, tuple[Any, str]] = {}
        self._change = threading.Lock()

    @property
    def items(self) -> Mapping[str, Any]:
        """The items by name."""
        return {name: item for name, (item, _) in self._items.items()}

    def owner_of(self, name: str) -> str:
        """The plugin that registered the name; raises `KeyError`."""
        return self._items[name][1]

    def add(self, item: Any, *, owner: str, name: str | None = None) -> str:
        """Register an item under the given name, or its own; returns it."""
        own = name or getattr(item, "name", None) or getattr(item, "__name__", None)
        if not own:
            raise PluginError(
                f"{owner}: the {self.kind} {item!r} has no name", hint="register.add(..., name=...)"
            )
        with self._change:
            if own in self._items:
                first = self._items[own][1]
                raise NameCollision(
                    f"the {self.kind} {own} of {owner} is refused: {first} has it",
                    hint="rename one of them, or load only one of the plugins",
                    name=own,
                    owners=[first, owner],
                )
            self._items = {**self._items, own: (item, owner)}
        return str(own)

    def remove_owner(self, owner: str) -> list[str]:
        """Forget all items of an owner; returns their names."""
        with self._change:
            gone = [name for name, (_, whose) in self._items.items() if whose == owner]
            self._items = {n: entry for n, entry in self._items.items() if entry[1] != owner}
        return gone
