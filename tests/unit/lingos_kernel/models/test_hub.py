"""Models from the hub: against a local server that speaks the part of its protocol in use."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from lingos_kernel.errors import (
    Cancelled,
    CorruptModel,
    DigestMismatch,
    DiskFull,
    DownloadFailed,
    InvalidArguments,
    UnknownModel,
    UnsupportedModel,
)
from lingos_kernel.models.catalogue import CatalogueEntry, PinnedFile
from lingos_kernel.models.progress import PullProgress
from lingos_kernel.models.store import ModelStore

COMMIT = "c0ffee" + "0" * 34
REPO = "acme/tiny"
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass
class Hub:
    """One repository, and what goes wrong with it."""

    files: dict[str, bytes]
    endpoint: str = ""
    commit: str = COMMIT
    token: str = ""
    """When set, requests must carry it."""
    is_gated: bool = False
    break_after: dict[str, int] = field(default_factory=dict)
    """Where in a file the connection breaks; once."""
    is_broken_for_good: bool = False
    """It breaks there each time."""
    stated: dict[str, str] = field(default_factory=dict)
    """SHA-256 that the hub states, where it is a wrong one."""
    log: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of each request."""
    on_chunk: Callable[[str], None] = lambda path: None

    def info(self) -> dict[str, Any]:
        """What the API says of the repository."""
        return {
            "_id": "1",
            "id": REPO,
            "modelId": REPO,
            "sha": self.commit,
            "private": False,
            "tags": ["license:mit"],
            "cardData": {"license": "mit"},
            "siblings": [self._sibling(path) for path in self.files],
        }

    def _sibling(self, path: str) -> dict[str, Any]:
        content = self.files[path]
        base = {"rfilename": path, "size": len(content), "blobId": self.git_id(path)}
        if not self.is_large(path):
            return base
        lfs = {"sha256": self.sha256(path), "size": len(content), "pointerSize": 130}
        return base | {"lfs": lfs}

    def is_large(self, path: str) -> bool:
        """Whether the file is kept by its SHA-256."""
        return path.endswith((".safetensors", ".gguf", ".bin"))

    def sha256(self, path: str) -> str:
        """The digest that the hub states."""
        return self.stated.get(path, hashlib.sha256(self.files[path]).hexdigest())

    def git_id(self, path: str) -> str:
        """Git's digest of the content."""
        content = self.files[path]
        return self.stated.get(
            path, hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        )

    def ranges(self, path: str) -> list[str]:
        """The Range of each request for a file's content."""
        return [span for method, url, span in self.log if method == "GET" and url.endswith(path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.log.append((self.command, path, self.headers.get("Range", "")))
        if self.hub.is_gated:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        if self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._send(401, b"", {"X-Error-Message": "Invalid credentials"})
        if found := _API.fullmatch(path):
            return self._api(found)
        if (found := _FILE.fullmatch(path)) and found["path"] in self.hub.files:
            return self._file(found["path"], with_body=with_body)
        return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _api(self, found: re.Match[str]) -> None:
        if found["repo"] != REPO:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        if found["revision"] not in {None, "main", "v1", self.hub.commit}:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        body = json.dumps(self.hub.info()).encode()
        return self._send(200, body, {"Content-Type": "application/json"})

    def _file(self, path: str, *, with_body: bool) -> None:
        content, hub = self.hub.files[path], self.hub
        etag = hub.sha256(path) if hub.is_large(path) else hub.git_id(path)
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": hub.commit, "Accept-Ranges": "bytes"}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(span[1]) if span else 0
        if span:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if not with_body:
            return self._send(200, b"", headers | {"Content-Length": str(len(content))})
        status = 206 if span else 200
        limit = hub.break_after.get(path) if hub.is_broken_for_good else None
        if limit is None:
            limit = hub.break_after.pop(path, None)
        limit = None if limit is None else max(0, limit - start)
        if limit is None or limit >= len(body):
            hub.on_chunk(path)
            return self._send(status, body, headers)
        self._send(status, body[:limit], headers | {"Content-Length": str(len(body))})
        self.wfile.flush()
        self.connection.shutdown(2)
        self.close_connection = True
        return None

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running stand-in of the hub that has the tiny Llama, and that HF_ENDPOINT names."""
    import huggingface_hub.constants
    import huggingface_hub.file_download
    import huggingface_hub.utils

    import lingos_kernel.models.hub

    files = {path.name: path.read_bytes() for path in sorted(tiny_llama.iterdir())}
    state = Hub(files | {"README.md": b"# Tiny", "pytorch_model.bin": b"pickle", "a/b.txt": b"x"})
    handler = type("Handler", (_Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(lingos_kernel.models.hub, "DOWNLOAD_CHUNK_BYTES", 10_000)
    # The client waits between its tries; tests do not.
    for module in (huggingface_hub.file_download, huggingface_hub.utils._http):
        monkeypatch.setattr(module, "time", _impatient(module.time))
    yield state
    huggingface_hub.utils.close_session()
    server.shutdown()
    thread.join()
    server.server_close()


def _impatient(clock: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**vars(clock), "sleep": lambda seconds: None})


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """An empty store."""
    return ModelStore(tmp_path / "store")


@pytest.mark.parametrize("source", [f"hf:{REPO}", f"hf:{REPO}@v1", f"hf:{REPO}@{COMMIT}"])
def test_a_repository_is_pulled(source: str, hub: Hub, store: ModelStore, tiny_llama: Path) -> None:
    """The safetensors model is fetched, and nothing of other formats."""
    seen: list[PullProgress] = []
    model = store.pull(source, progress=seen.append)
    assert model.name == REPO
    assert model.source == f"hf:{REPO}@{COMMIT}"
    assert model.licence == "mit"
    assert {file.path for file in model.files} == {path.name for path in tiny_llama.iterdir()}
    weights = "model.safetensors"
    assert (model.path / weights).read_bytes() == (tiny_llama / weights).read_bytes()
    assert not any("pytorch_model" in path for _, path, _ in hub.log)
    total = sum(file.bytes for file in model.files)
    downloads = [p.done_bytes for p in seen if p.phase == "downloading" and p.total_bytes == total]
    assert downloads == sorted(downloads)
    assert downloads[-1] == total


def test_pulling_again_asks_only_for_the_commit(hub: Hub, store: ModelStore) -> None:
    """A commit that is there is not fetched again; a new one is."""
    first = store.pull(f"hf:{REPO}")
    hub.log.clear()
    assert store.pull(f"hf:{REPO}") == first
    assert len(hub.log) == 1
    hub.commit = "d" * 40
    hub.files["generation_config.json"] = b'{"eos_token_id": 5}'
    assert store.pull(f"hf:{REPO}").id != first.id


def test_a_broken_connection_is_resumed(hub: Hub, store: ModelStore) -> None:
    """A connection that breaks once is taken up again where it broke."""
    hub.break_after["model.safetensors"] = 50_000
    store.pull(f"hf:{REPO}")
    store.verify(REPO)
    assert "bytes=50000-" in hub.ranges("model.safetensors")


def test_the_next_pull_goes_on_where_the_last_one_failed(hub: Hub, store: ModelStore) -> None:
    """After a line that stayed broken, nothing is listed, and the next pull resumes."""
    hub.break_after["model.safetensors"] = 150_000
    hub.is_broken_for_good = True
    with pytest.raises(DownloadFailed, match=r"model\.safetensors") as caught:
        store.pull(f"hf:{REPO}")
    assert "goes on where it stopped" in caught.value.hint
    assert store.list() == []
    hub.break_after.clear()
    hub.log.clear()
    store.pull(f"hf:{REPO}")
    store.verify(REPO)
    assert hub.ranges("tokenizer.json") == []
    assert hub.ranges("model.safetensors") == ["bytes=150000-"]


def test_no_hub(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that cannot be reached is told with its address."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadFailed, match=r"127\.0\.0\.1:9") as caught:
        store.pull(f"hf:{REPO}")
    assert "network" in caught.value.hint


def test_offline_mode_is_told(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE is named when it is why."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.utils.close_session()
    with pytest.raises(DownloadFailed, match="offline") as caught:
        store.pull(f"hf:{REPO}")
    assert "HF_HUB_OFFLINE" in caught.value.hint


def test_an_unknown_repository(hub: Hub, store: ModelStore) -> None:
    """A repository that the hub does not have is unknown."""
    with pytest.raises(UnknownModel, match="acme/other"):
        store.pull("hf:acme/other")


def test_an_unknown_revision(hub: Hub, store: ModelStore) -> None:
    """A revision that the repository does not have is named."""
    with pytest.raises(UnknownModel, match="no revision v9"):
        store.pull(f"hf:{REPO}@v9")


def test_a_private_repository(hub: Hub, store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the token it is refused, saying which variable to set; with it, it is pulled."""
    hub.token = "secret"
    with pytest.raises((DownloadFailed, UnknownModel)) as caught:
        store.pull(f"hf:{REPO}")
    assert "HF_TOKEN" in caught.value.hint
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(DownloadFailed, match="refused"):
        store.pull(f"hf:{REPO}")
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert store.pull(f"hf:{REPO}").name == REPO


def test_a_gated_repository(hub: Hub, store: ModelStore) -> None:
    """Terms that must be accepted are told, with where."""
    hub.is_gated = True
    with pytest.raises(DownloadFailed, match="terms") as caught:
        store.pull(f"hf:{REPO}")
    assert f"{hub.endpoint}/{REPO}" in caught.value.hint


@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_digest(path: str, hub: Hub, store: ModelStore) -> None:
    """Content that is not what the hub states is refused, and fetched anew next time."""
    hub.stated[path] = "0" * (64 if hub.is_large(path) else 40)
    with pytest.raises(DigestMismatch, match=path):
        store.pull(f"hf:{REPO}")
    assert store.list() == []
    hub.stated.clear()
    store.pull(f"hf:{REPO}")
    store.verify(REPO)


def test_a_truncated_model_on_the_hub(hub: Hub, store: ModelStore) -> None:
    """A model that is broken on the hub itself is told to be truncated."""
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:-8]
    with pytest.raises(CorruptModel, match="truncated"):
        store.pull(f"hf:{REPO}")
    assert store.list() == []


def test_only_pickled_weights(hub: Hub, store: ModelStore) -> None:
    """A repository without safetensors is refused before anything is downloaded."""
    del hub.files["model.safetensors"]
    with pytest.raises(UnsupportedModel, match="no safetensors"):
        store.pull(f"hf:{REPO}")
    assert len([entry for entry in hub.log if "resolve" in entry[1]]) == 0


def test_sharded_weights(hub: Hub, store: ModelStore) -> None:
    """The shards that the index names are fetched, and no stray weights."""
    content = hub.files.pop("model.safetensors")
    hub.files["model-1.safetensors"] = content
    hub.files["consolidated.safetensors"] = b"other"
    index = {"weight_map": {"a": "model-1.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    paths = {file.path for file in store.pull(f"hf:{REPO}").files}
    assert "model-1.safetensors" in paths
    assert "consolidated.safetensors" not in paths


def test_a_gguf_file_on_the_hub(
    hub: Hub, store: ModelStore, tiny_llama: Path, write_gguf: Callable[..., Path]
) -> None:
    """One GGUF file of a repository is fetched alone, and converted."""
    hub.files = {"tiny.Q8_0.gguf": write_gguf(tiny_llama, quantisation="Q8_0").read_bytes()}
    model = store.pull(f"hf:{REPO}:tiny.Q8_0.gguf")
    assert model.name == "acme/tiny.Q8_0"
    assert model.source == f"hf:{REPO}@{COMMIT}:tiny.Q8_0.gguf"
    assert model.dtype == "float32"
    with pytest.raises(UnknownModel, match="no file other"):
        store.pull(f"hf:{REPO}:other.gguf")
    with pytest.raises(UnsupportedModel) as caught:
        store.pull(f"hf:{REPO}")
    assert "tiny.Q8_0.gguf" in caught.value.hint


def test_cancel_in_the_middle(hub: Hub, store: ModelStore) -> None:
    """A cancel while a file comes in ends the pull; nothing is listed."""
    stop = threading.Event()
    hub.on_chunk = lambda path: stop.set() if path == "model.safetensors" else None
    with pytest.raises(Cancelled):
        store.pull(f"hf:{REPO}", cancelled=stop)
    assert store.list() == []
    store.pull(f"hf:{REPO}")
    store.verify(REPO)


def test_no_room(hub: Hub, tmp_path: Path) -> None:
    """The size is known beforehand, so a small disk is told before the download."""
    store = ModelStore(tmp_path / "store", free_bytes=lambda path: 100)
    with pytest.raises(DiskFull, match="are missing"):
        store.pull(f"hf:{REPO}")
    assert not any("resolve" in path for _, path, _ in hub.log)


def test_a_catalogue_entry_on_the_hub(hub: Hub, tmp_path: Path) -> None:
    """A plugin's entry has its own name, and its pinned files are checked."""
    weights = hub.files["model.safetensors"]
    pin = PinnedFile(
        "model.safetensors",
        "model.safetensors",
        len(weights),
        hashlib.sha256(weights).hexdigest(),
    )
    good = CatalogueEntry("mine", f"hf:{REPO}@{COMMIT}", (pin,), licence="apache-2.0")
    store = ModelStore(tmp_path / "good", catalogue={"mine": good})
    model = store.pull("mine")
    assert (model.name, model.licence) == ("mine", "apache-2.0")
    wrong = PinnedFile(pin.member, pin.path, pin.bytes, "f" * 64)
    bad = CatalogueEntry("mine", good.source, (wrong,))
    with pytest.raises(DigestMismatch):
        ModelStore(tmp_path / "bad", catalogue={"mine": bad}).pull("mine")


@pytest.mark.parametrize("source", ["hf:", "hf:tiny", "hf:a/b/c", "hf:a/b:model.bin", "hf:../x"])
def test_texts_that_are_no_source(source: str, store: ModelStore) -> None:
    """A text that begins like a hub source but is none is told how to write one."""
    with pytest.raises(InvalidArguments) as caught:
        store.pull(source)
    assert caught.value.hint
