"""The store lists only whole models, whatever happens while one is pulled."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lingos_kernel.errors import (
    Cancelled,
    CorruptModel,
    DigestMismatch,
    DiskFull,
    InvalidArguments,
    LingOSError,
    ModelError,
    UnknownModel,
    UnsupportedModel,
)
from lingos_kernel.models import store as store_module
from lingos_kernel.models.files import write_bytes
from lingos_kernel.models.folder import FolderSource
from lingos_kernel.models.layout import ModelFolder
from lingos_kernel.models.progress import Meter, PullProgress
from lingos_kernel.models.source import Fetched, Staging
from lingos_kernel.models.store import ModelStore

PLENTY_BYTES = 1 << 50


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "store")


@pytest.fixture
def llama(tiny_llama: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Llama that a test may damage."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "tiny-llama"))


@dataclass
class ScriptedSource:
    """A source that does to the staging folder what a test says, then copies a real model."""

    model: Path
    before: Callable[[Staging], None] = lambda staging: None
    name: str = "scripted"
    can_resume: bool = False
    mark: str = ""
    fetches: list[str] = field(default_factory=list)

    def fingerprint(self, meter: Meter) -> str:
        """What the test says."""
        return self.mark

    def fetch(self, staging: Staging) -> Fetched:
        """Run the script, then copy."""
        self.fetches.append(threading.current_thread().name)
        write_bytes(staging.files, "half.safetensors", b"half a model")
        self.before(staging)
        (staging.files / "half.safetensors").unlink()
        copied = FolderSource(self.model, self.name).fetch(staging)
        return Fetched(copied.files, "scripted:", "mit")


@pytest.fixture
def scripted(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedSource:
    """Makes the store take the source text `scripted:` for this source."""
    source = ScriptedSource(tiny_llama)
    parse = store_module.parse_source
    monkeypatch.setattr(
        store_module,
        "parse_source",
        lambda text, *args, **options: (
            source if text == "scripted:" else parse(text, *args, **options)
        ),
    )
    return source


def everything_below(root: Path) -> list[Path]:
    """All files of a store but its locks."""
    return [p for p in root.rglob("*") if p.is_file() and ".locks" not in p.parts]


def test_an_empty_store_touches_nothing(store: ModelStore) -> None:
    """Listing a store that is not there makes no folder."""
    assert store.list() == []
    assert not store.root.exists()


def test_a_folder_is_copied_with_its_facts(store: ModelStore, llama: Path) -> None:
    """A pulled folder can be loaded, and the store knows what it is without reading weights."""
    from tokenizers import Tokenizer

    (llama / "README.md").write_text("---\nlicense: mit\n---\n# Tiny")
    model = store.pull(str(llama))
    assert model == store.resolve("tiny-llama")
    assert (model.kind, model.architecture) == ("causal", "LlamaForCausalLM")
    assert (model.context_tokens, model.dtype, model.licence) == (512, "float32", "mit")
    assert model.parameters > 10_000
    assert model.source == f"folder:{llama}"
    assert model.bytes_on_disk == sum(file.bytes for file in model.files)
    assert Tokenizer.from_file(str(model.path / "tokenizer.json")).encode("the fox").ids
    for file in model.files:
        link = model.path / file.path
        assert link.is_symlink()
        assert link.resolve().name == file.sha256
        assert link.read_bytes() == (llama / file.path).read_bytes()


def test_editing_the_folder_later_does_not_change_the_store(store: ModelStore, llama: Path) -> None:
    """The store holds copies, not links into the user's folder."""
    store.pull(str(llama))
    with (llama / "model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\xff\xff\xff\xff")
    store.verify("tiny-llama")


def test_the_layout_is_the_hub_caches(store: ModelStore, llama: Path) -> None:
    """blobs by digest, snapshots of links, refs with ids; and no staging is left."""
    model = store.pull(str(llama), alias="mine")
    folder = store.root / "models--mine"
    assert model.path == folder / "snapshots" / model.id
    assert (folder / "refs" / "main").read_text().strip() == model.id
    assert {p.name for p in (folder / "blobs").iterdir()} == {f.sha256 for f in model.files}
    assert json.loads((model.path / "lingos.json").read_text())["kind"] == "causal"
    assert not (store.root / ".staging" / "models--mine").exists()


@pytest.mark.parametrize("index_only", [False, True])
def test_sharded_weights(index_only: bool, store: ModelStore, tmp_path: Path) -> None:
    """Shards that the index names are taken; a missing one is told."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    folder = tmp_path / "sharded"
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="20KB")
    (folder / "tokenizer.json").write_text("{}")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    if index_only:
        shards[0].unlink()
        with pytest.raises(UnsupportedModel, match=shards[0].name):
            store.pull(str(folder))
    else:
        paths = {file.path for file in store.pull(str(folder)).files}
        assert {shard.name for shard in shards} < paths


@pytest.mark.parametrize("kind", ["encoder", "causal"])
def test_kinds(kind: str, store: ModelStore, tiny_model: Callable[[str], Path]) -> None:
    """A BERT is an encoder, a GPT-2 a causal model."""
    folder = tiny_model({"encoder": "bert", "causal": "gpt2"}[kind])
    assert store.pull(str(folder), alias="it").kind == kind


def test_pulling_again_changes_nothing(store: ModelStore, llama: Path) -> None:
    """The same content is the same snapshot, once."""
    first = store.pull(str(llama))
    second = store.pull(str(llama))
    assert first.id == second.id
    assert len(store.list()) == 1


def test_a_new_version_takes_the_name_and_the_old_one_stays(
    store: ModelStore, llama: Path, tiny_model: Callable[[str], Path]
) -> None:
    """The name means the newest version; the older is found by NAME@ID until it is removed."""
    old = store.pull(str(llama), alias="it")
    new = store.pull(str(tiny_model("qwen3")), alias="it")
    assert store.resolve("it").id == new.id
    assert store.resolve(f"it@{old.id[:8]}").id == old.id
    assert [model.name for model in store.list()] == ["it", f"it@{old.id[:8]}"]
    store.remove("it")
    assert store.resolve("it").id == old.id


def test_names_aliases_and_ids_resolve(store: ModelStore, llama: Path) -> None:
    """A model is found by name in any case, by alias, and by the start of its id."""
    model = store.pull(str(llama))
    tagged = store.tag("tiny-llama", "fast:1")
    assert tagged.aliases == ("fast:1",)
    for name in ("tiny-llama", "Tiny-LLAMA", "fast:1", model.id, model.id[:7]):
        assert store.resolve(name).id == model.id
    store.untag("fast:1")
    with pytest.raises(UnknownModel):
        store.resolve("fast:1")
    with pytest.raises(UnknownModel):
        store.untag("fast:1")


def test_an_alias_moves(store: ModelStore, llama: Path, tiny_model: Callable[[str], Path]) -> None:
    """An alias means one model, the last it was given to."""
    store.pull(str(llama), alias="one")
    other = store.pull(str(tiny_model("gpt2")), alias="two")
    store.tag("one", "best")
    assert store.tag("two", "best").id == other.id
    assert store.resolve("one").aliases == ()


def test_an_alias_cannot_hide_a_model(
    store: ModelStore, llama: Path, tiny_model: Callable[[str], Path]
) -> None:
    """The names of models, here or in the catalogue, are no aliases."""
    store.pull(str(llama), alias="one")
    store.pull(str(tiny_model("gpt2")), alias="two")
    for taken in ("two", "smollm2-135m-instruct"):
        with pytest.raises(InvalidArguments, match="is the name of a model"):
            store.tag("one", taken)


def test_one_content_under_two_names(store: ModelStore, llama: Path) -> None:
    """Two models may have the same content; each keeps its aliases and goes alone."""
    one, two = (store.pull(str(llama), alias=name) for name in ("one", "two"))
    assert one.id == two.id
    assert store.tag("two", "second").name == "two"
    assert store.resolve("second").name == "two"
    assert store.resolve(f"two@{two.id[:8]}").name == "two"
    store.remove("one")
    store.verify("two")


@pytest.mark.parametrize("name", ["", "../up", "a/b/c", "main", ".hidden", "a b", "--alias"])
def test_impossible_aliases_are_refused(name: str, store: ModelStore, llama: Path) -> None:
    """A name that would leave the store's folder, or that no command line can hold, is refused."""
    with pytest.raises(InvalidArguments):
        store.pull(str(llama), alias=name)


def test_unknown_names_come_with_near_ones(store: ModelStore) -> None:
    """A slip of the finger is told with what was probably meant."""
    with pytest.raises(UnknownModel) as caught:
        store.resolve("smolm2-135m-instruct")
    assert "smollm2-135m-instruct" in caught.value.hint
    with pytest.raises(UnknownModel) as caught:
        store.pull("meta-llama/Llama-3.2-1B")
    assert "hf:meta-llama/Llama-3.2-1B" in caught.value.hint


def test_a_path_that_is_not_there(store: ModelStore) -> None:
    """A path is not taken for a name."""
    with pytest.raises(InvalidArguments, match="no file or folder"):
        store.pull("./nowhere/model.gguf")


def test_a_folder_cannot_take_a_catalogue_name(store: ModelStore, llama: Path) -> None:
    """The default model's name stays the default model's."""
    with pytest.raises(InvalidArguments, match="catalogue"):
        store.pull(str(llama), alias="smollm2-135m-instruct")


def test_removing_deletes_the_contents(store: ModelStore, llama: Path) -> None:
    """Nothing of a removed model stays on the disk."""
    store.pull(str(llama), alias="it")
    store.tag("it", "other")
    removed = store.remove("other")
    assert removed.name == "it"
    assert store.list() == []
    assert everything_below(store.root) == []


def test_removing_a_version_keeps_what_the_other_shares(store: ModelStore, llama: Path) -> None:
    """Contents that two versions share go with the last of them."""
    old = store.pull(str(llama), alias="it")
    (llama / "generation_config.json").write_text('{"eos_token_id": 7}')
    new = store.pull(str(llama), alias="it")
    assert old.id != new.id
    store.remove(f"it@{old.id[:8]}")
    store.verify("it")
    blobs = {p.name for p in ModelFolder.of(store.root, "it").blobs.iterdir()}
    assert blobs == {file.sha256 for file in new.files}


def test_verify_names_the_damaged_file(store: ModelStore, llama: Path) -> None:
    """Content that changed in the store is found; pulling again heals it."""
    model = store.pull(str(llama))
    with (model.path / "model.safetensors").resolve().open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x01\x02\x03\x04")
    with pytest.raises(DigestMismatch, match=r"model\.safetensors"):
        store.verify("tiny-llama")
    store.pull(str(llama))
    store.verify("tiny-llama")


def test_a_damaged_model_is_not_listed_and_can_be_mended(store: ModelStore, llama: Path) -> None:
    """A model that lost a file is not listed, is told to be damaged, and a new pull mends it."""
    model = store.pull(str(llama))
    (model.path / "tokenizer.json").resolve().unlink()
    assert store.list() == []
    with pytest.raises(CorruptModel, match=r"tokenizer\.json"):
        store.resolve("tiny-llama")
    assert store.pull(str(llama)).id == model.id
    (model.path / "tokenizer.json").resolve().unlink()
    store.remove("tiny-llama")
    assert everything_below(store.root) == []


def test_listing_fifty_models_is_quick(store: ModelStore, llama: Path) -> None:
    """A list reads no weights: fifty models take a few milliseconds."""
    first = store.pull(str(llama), alias="model-0")
    for number in range(1, 50):
        shutil.copytree(
            store.root / "models--model-0", store.root / f"models--model-{number}", symlinks=True
        )
    took_s = min(_seconds(store.list) for _ in range(5))
    assert len(store.list()) == 50
    assert first in store.list()
    assert took_s < 0.1


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_reading_imports_no_torch(store: ModelStore) -> None:
    """Listing and resolving need neither torch, transformers, numpy nor the hub's client."""
    code = (
        "import sys; from pathlib import Path; from lingos_kernel.models.store import ModelStore;"
        f"ModelStore(Path({str(store.root)!r})).list();"
        "heavy = {'torch', 'transformers', 'numpy', 'gguf', 'huggingface_hub', 'tokenizers'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# What goes wrong while a model is pulled.


def test_cancel_leaves_nothing(store: ModelStore, scripted: ScriptedSource) -> None:
    """A pull that is cancelled in the middle lists nothing and leaves nothing."""
    stop = threading.Event()
    scripted.before = lambda staging: stop.set() or staging.meter.check()  # type: ignore[func-returns-value] # set() is None
    with pytest.raises(Cancelled) as caught:
        store.pull("scripted:", cancelled=stop)
    assert "again" in caught.value.hint
    assert store.list() == []
    assert everything_below(store.root) == []


def test_no_room_is_told_before_anything_is_fetched(tmp_path: Path, llama: Path) -> None:
    """The error says how much is missing."""
    store = ModelStore(tmp_path / "small", free_bytes=lambda path: 1000)
    with pytest.raises(DiskFull, match="are missing") as caught:
        store.pull(str(llama))
    needed = sum(p.stat().st_size for p in llama.iterdir())
    assert caught.value.details["missing_bytes"] == needed - 1000
    assert "models.store" in caught.value.hint
    assert store.list() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_disk_that_becomes_full(store: ModelStore, scripted: ScriptedSource) -> None:
    """The system's "no space left" in the middle of a pull is told as DiskFull."""

    def fill_the_disk(staging: Staging) -> None:
        with Path("/dev/full").open("wb") as full:
            full.write(b"x" * 100_000)

    scripted.before = fill_the_disk
    with pytest.raises(DiskFull, match="became full"):
        store.pull("scripted:")
    assert store.list() == []
    assert everything_below(store.root) == []


def test_other_system_errors_are_not_hidden(store: ModelStore, scripted: ScriptedSource) -> None:
    """An input/output error is not taken for a full disk."""

    def fail(staging: Staging) -> None:
        raise OSError(errno.EIO, "input/output error")

    scripted.before = fail
    with pytest.raises(OSError, match="input/output"):
        store.pull("scripted:")
    assert store.list() == []


def test_a_killed_pull_is_not_listed_and_its_rest_is_cleared(
    store: ModelStore, scripted: ScriptedSource, tiny_llama: Path
) -> None:
    """After a process died in the middle, the next pull starts clean and succeeds."""
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from pathlib import Path\n"
        "from lingos_kernel.models import layout\n"
        "from lingos_kernel.models.store import ModelStore\n"
        "write_ref = layout.ModelFolder.write_ref\n"
        "layout.ModelFolder.write_ref = lambda *args: os._exit(9)\n"
        f"ModelStore(Path({str(store.root)!r})).pull({str(tiny_llama)!r}, alias='it')\n"
    )
    died = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert died.returncode == 9
    assert everything_below(store.root / ".staging") == [] or store.list() != []
    model = store.pull(str(tiny_llama), alias="it")
    assert [each.id for each in store.list()] == [model.id]
    store.verify("it")


def test_pickled_weights_are_refused(store: ModelStore, llama: Path) -> None:
    """A folder with only pickled weights is refused, saying why."""
    (llama / "model.safetensors").rename(llama / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="no safetensors") as caught:
        store.pull(str(llama))
    assert "run code" in caught.value.hint


def test_a_folder_without_tokenizer(store: ModelStore, llama: Path) -> None:
    """What is missing is named, with how to make it."""
    (llama / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json") as caught:
        store.pull(str(llama))
    assert "save_pretrained" in caught.value.hint


def test_truncated_weights_are_corrupt(store: ModelStore, llama: Path) -> None:
    """A safetensors file that was cut is found before it is stored."""
    weights = llama / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CorruptModel, match="truncated"):
        store.pull(str(llama))
    assert everything_below(store.root) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("{", CorruptModel),
        ("[]", CorruptModel),
        ('{"model_type": "llama"}', UnsupportedModel),
        ('{"architectures": ["T5Model"], "is_encoder_decoder": true}', UnsupportedModel),
        ('{"architectures": ["ViTForImageClassification"]}', UnsupportedModel),
    ],
)
def test_unusable_configurations(
    content: str, error: type[LingOSError], store: ModelStore, llama: Path
) -> None:
    """A configuration that is broken, or of something else, is told; nothing is stored."""
    (llama / "config.json").write_text(content)
    with pytest.raises(error):
        store.pull(str(llama))
    assert everything_below(store.root) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_an_unreadable_folder(store: ModelStore, llama: Path) -> None:
    """A folder that may not be read is told so."""
    llama.chmod(0)
    try:
        with pytest.raises(CorruptModel, match="cannot be read"):
            store.pull(str(llama))
    finally:
        llama.chmod(0o755)


def test_an_unreadable_file(
    store: ModelStore, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that may not be read is told with its path."""
    real_open = Path.open

    def refuse(path: Path, *args: object, **options: object) -> object:
        if path == llama / "tokenizer.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *args, **options)  # type: ignore[call-overload] # passed on

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CorruptModel, match=r"Permission denied .*tokenizer\.json"):
        store.pull(str(llama))


def test_a_store_that_cannot_be_written(
    store: ModelStore, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store in a place that is not the user's is told with what to set."""

    def refuse(path: Path, *args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ModelError, match="cannot be written") as caught:
        store.pull(str(llama))
    assert "models.store" in caught.value.hint


def test_a_store_that_cannot_be_read(
    store: ModelStore, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of another user is told as that, not as an empty one."""
    store.pull(str(llama))

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ModelError, match="cannot be read"):
        store.list()


# Two at the same time.


def test_two_pulls_of_one_model_fetch_it_once(store: ModelStore, scripted: ScriptedSource) -> None:
    """While one process works the other waits, says so, and then finds the model there."""
    scripted.mark = "v1"
    is_waiting = threading.Event()
    scripted.before = lambda staging: _wait(is_waiting)
    outcome: list[str] = []

    def pull(store: ModelStore) -> None:
        def report(progress: PullProgress) -> None:
            if progress.phase == "waiting":
                is_waiting.set()

        outcome.append(store.pull("scripted:", progress=report).id)

    threads = [threading.Thread(target=pull, args=(ModelStore(store.root),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcome) == 2
    assert outcome[0] == outcome[1]
    assert len(scripted.fetches) == 1


def test_waiting_can_be_cancelled(store: ModelStore, scripted: ScriptedSource) -> None:
    """Who waits for another process's pull can give up without disturbing it."""
    scripted.mark = "v1"
    has_begun, may_end, stop = threading.Event(), threading.Event(), threading.Event()

    def hold(staging: Staging) -> None:
        has_begun.set()
        _wait(may_end)

    scripted.before = hold
    worker = threading.Thread(target=store.pull, args=("scripted:",))
    worker.start()
    _wait(has_begun)

    def report(progress: PullProgress) -> None:
        if progress.phase == "waiting":
            stop.set()

    with pytest.raises(Cancelled):
        store.pull("scripted:", progress=report, cancelled=stop)
    may_end.set()
    worker.join(30)
    assert [model.name for model in store.list()] == ["scripted"]


def _wait(event: threading.Event) -> None:
    assert event.wait(30)


def test_four_processes_at_once(store: ModelStore, tiny_llama: Path) -> None:
    """Processes that pull, tag and remove the same model leave a sound store."""
    code = (
        "import sys; from pathlib import Path\n"
        "from lingos_kernel.errors import LingOSError\n"
        "from lingos_kernel.models.store import ModelStore\n"
        f"store = ModelStore(Path({str(store.root)!r}))\n"
        "for turn in range(6):\n"
        f"    store.pull({str(tiny_llama)!r}, alias='it')\n"
        "    try:\n"
        "        store.tag('it', f'a{sys.argv[1]}')\n"
        "        if turn % 2: store.remove('it')\n"
        "    except LingOSError as error: assert error.code in {'unknown_model', 'corrupt_model'}\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(n)], stderr=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, errors
    store.pull(str(tiny_llama), alias="it")
    store.verify("it")
    assert len(store.list()) == 1


def test_stale_staging_is_cleared(
    store: ModelStore, llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a pull of another model left a month ago is deleted; a fresh one is kept."""
    old, fresh = (store.root / ".staging" / f"models--{name}" for name in ("old", "fresh"))
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"x")
    long_ago = time.time() - 30 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    store.pull(str(llama))
    assert not old.exists()
    assert fresh.exists()


def test_an_interrupted_resumable_pull_keeps_its_part(
    store: ModelStore, scripted: ScriptedSource
) -> None:
    """A source that can resume finds in the next pull what the first one had."""
    scripted.can_resume = True
    found: list[bool] = []

    def break_once(staging: Staging) -> None:
        part = staging.partial / "part"
        found.append(part.exists())
        part.write_bytes(b"some")
        if len(found) == 1:
            raise ModelError("the line broke")

    scripted.before = break_once
    with pytest.raises(ModelError):
        store.pull("scripted:")
    assert store.list() == []
    store.pull("scripted:")
    assert found == [False, True]


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    """Every test ends with the threads that it began with."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before
