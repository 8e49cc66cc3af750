"""Names are looked up anew when the store has changed, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lingos_kernel.errors import CorruptModel, UnknownModel
from lingos_kernel.models.layout import ModelFolder
from lingos_kernel.models.lookup import SETTLED_NS, ModelLookup, store_stamp
from lingos_kernel.models.store import ModelStore, StoredModel

LATER_NS = 1 << 62
"""Long after whatever a test does to the store."""


class CountingStore(ModelStore):
    """Counts how often it is read."""

    reads = 0

    def resolve(self, name: str) -> StoredModel:
        """As the store does."""
        self.reads += 1
        return super().resolve(name)


@pytest.fixture
def store(tmp_path: Path, tiny_llama: Path) -> CountingStore:
    """A store with one model, `small`."""
    made = CountingStore(tmp_path / "models")
    made.pull(str(tiny_llama), alias="small")
    made.reads = 0
    return made


def test_a_name_is_read_once(store: CountingStore) -> None:
    """Until a folder changes."""
    lookup = ModelLookup(store, wall_ns=lambda: LATER_NS)
    assert lookup.resolve("small") is lookup.resolve("small")
    assert store.reads == 1


def test_another_name_is_seen_at_once(store: CountingStore) -> None:
    """A name that is given to a model, or taken from it."""
    lookup = ModelLookup(store, wall_ns=lambda: LATER_NS)
    model = lookup.resolve("small")
    folder = ModelFolder(model.path.parent.parent)
    folder.write_ref("other", model.id)
    os.utime(folder.refs, ns=(1, 1))  # however coarse the clock of files is
    assert "other" in lookup.resolve("small").aliases
    assert lookup.resolve("other").id == model.id
    folder.remove_ref("other")
    with pytest.raises(UnknownModel):
        lookup.resolve("other")


def test_a_file_that_is_gone_is_noticed(store: CountingStore) -> None:
    """A damaged model is told, not served from memory."""
    lookup = ModelLookup(store, wall_ns=lambda: LATER_NS)
    model = lookup.resolve("small")
    (model.path / "model.safetensors").unlink()
    with pytest.raises(CorruptModel):
        lookup.resolve("small")


def test_what_changed_just_now_is_not_remembered(store: CountingStore) -> None:
    """The next change might have the same time."""
    newest_ns = max(changed_ns for _, changed_ns in store_stamp(store.root))
    lookup = ModelLookup(store, wall_ns=lambda: newest_ns + SETTLED_NS)
    lookup.resolve("small")
    lookup.resolve("small")
    assert store.reads == 2
