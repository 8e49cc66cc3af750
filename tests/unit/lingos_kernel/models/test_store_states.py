"""Whatever is done to a store, in whatever order, it says the truth about what it holds."""

from __future__ import annotations

import hashlib
import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lingos_kernel.errors import CorruptModel, UnknownModel
from lingos_kernel.models.layout import model_folders
from lingos_kernel.models.store import ModelStore

NAMES = st.sampled_from(["a", "b"])
CONTENTS = st.integers(0, 3)


def write_model(folder: Path, content: int) -> None:
    """The smallest folder that the store takes for a model."""
    folder.mkdir(exist_ok=True)
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    weights = struct.pack("<Q", len(text)) + text + struct.pack("<f", content)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text('{"architectures": ["XForCausalLM"]}')
    (folder / "tokenizer.json").write_text("{}")


class StoreStates(RuleBasedStateMachine):
    """Pull, tag, untag, remove, damage and mend, against plain dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name)
        self._now = 0.0
        self.store = ModelStore(self._root / "store", catalogue={}, clock=lambda: self._now)
        self.newest: dict[str, str] = {}
        self.versions: dict[tuple[str, str], int] = {}

    def teardown(self) -> None:
        """Nothing stays on the disk."""
        self._folder.cleanup()

    @rule(name=NAMES, content=CONTENTS)
    def pull(self, name: str, content: int) -> None:
        """A folder becomes a version of the model, and its newest."""
        self._now += 1
        write_model(self._root / "source", content)
        model = self.store.pull(str(self._root / "source"), alias=name)
        assert model.name == name
        self.newest[name] = model.id
        self.versions[name, model.id] = content

    @rule(name=NAMES, alias=st.sampled_from(["x", "y"]))
    def tag(self, name: str, alias: str) -> None:
        """An alias moves to the model, if there is one."""
        try:
            model = self.store.tag(name, alias)
        except UnknownModel:
            assert name not in self.newest
        else:
            assert alias in model.aliases

    @rule(alias=st.sampled_from(["x", "y"]))
    def untag(self, alias: str) -> None:
        """An alias goes, if it is there."""
        try:
            self.store.untag(alias)
        except UnknownModel:
            assert all(alias not in model.aliases for model in self.store.list())
        assert all(alias not in model.aliases for model in self.store.list())

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        """The newest version goes, and the one before it takes the name."""
        try:
            removed = self.store.remove(name)
        except UnknownModel:
            assert name not in self.newest
            return
        assert removed.id == self.newest[name]
        del self.versions[name, removed.id]
        left = [model for model in self.store.list() if model.name == name]
        assert len(left) <= 1
        if left:
            self.newest[name] = left[0].id
        else:
            del self.newest[name]

    @rule(name=NAMES)
    def damage_and_mend(self, name: str) -> None:
        """A model that lost a file is not listed, and pulling it again heals it."""
        if name not in self.newest:
            return
        content = self.versions[name, self.newest[name]]
        model = self.store.resolve(name)
        (model.path / "model.safetensors").resolve().unlink()
        assert model.id not in {each.id for each in self.store.list() if each.name == name}
        with pytest.raises(CorruptModel):
            self.store.resolve(name)
        self.pull(name, content)

    @invariant()
    def it_lists_what_was_pulled(self) -> None:
        """Names, versions and contents are what they should be, and verify."""
        listed = {(model.name.split("@")[0], model.id) for model in self.store.list()}
        assert listed == set(self.versions)
        for name, newest in self.newest.items():
            assert self.store.resolve(name).id == newest

    @invariant()
    def no_blob_is_left_over_or_missing(self) -> None:
        """Each blob belongs to a version, and has the content that its name says."""
        for folder in model_folders(self.store.root):
            used = {file.sha256 for model in folder.read_all() for file in model.files}
            blobs = {path.name for path in folder.blobs.iterdir()}
            assert blobs == used
            for path in folder.blobs.iterdir():
                assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


StoreStates.TestCase.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
TestStoreStates = StoreStates.TestCase
