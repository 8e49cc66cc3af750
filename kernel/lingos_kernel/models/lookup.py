"""Models by name, without reading the whole store for every request."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lingos_kernel.models.layout import missing_files, model_folders
from lingos_kernel.models.store import ModelStore, StoredModel

SETTLED_NS = 100_000_000
"""What changed just now may change again without a newer time: clocks of files are coarse."""


@dataclass(frozen=True, slots=True)
class _Found:
    stamp: tuple[tuple[str, int], ...]
    model: StoredModel


class ModelLookup:
    """Resolves names; a name is looked up again when a folder of the store has changed."""

    def __init__(self, store: ModelStore, *, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._wall_ns = wall_ns
        self._found: dict[str, _Found] = {}

    def resolve(self, name: str) -> StoredModel:
        """As `ModelStore.resolve`, and raises what that raises."""
        stamp = store_stamp(self._store.root)
        known = self._found.get(name)
        if known and known.stamp == stamp and not missing_files(known.model):
            return known.model
        model = self._store.resolve(name)
        newest_ns = max(changed_ns for _, changed_ns in stamp)
        if self._wall_ns() - newest_ns > SETTLED_NS:
            self._found[name] = _Found(stamp, model)
        return model


def store_stamp(root: Path) -> tuple[tuple[str, int], ...]:
    """When the folders of a store changed last: those of models, their names and versions."""
    folders = [root]
    for folder in model_folders(root):
        folders += (folder.refs, folder.snapshots)
    return tuple((str(folder), _changed_ns(folder)) for folder in folders)


def _changed_ns(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
