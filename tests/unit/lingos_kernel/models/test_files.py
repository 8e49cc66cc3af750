"""Files are hashed as they are written, and broken ones are told before they are stored."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import CorruptModel, DigestMismatch, DiskFull
from lingos_kernel.models.files import (
    check_pinned,
    copy_hashed,
    hash_file,
    read_safetensors_header,
    require_room,
    write_json,
)
from lingos_kernel.models.progress import Meter


def safetensors(header: object, data: bytes) -> bytes:
    """A safetensors file's content."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = safetensors({"w": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}, bytes(12))


def test_copying_hashes_and_counts(tmp_path: Path) -> None:
    """The fact of a copied file is its path, size and SHA-256."""
    seen: list[int] = []
    meter = Meter("m", lambda progress: seen.append(progress.done_bytes))
    content = bytes(range(256)) * 10_000
    meter.begin("storing", total_bytes=len(content))
    fact = copy_hashed(io.BytesIO(content), tmp_path, "deep/file", meter)
    assert (fact.path, fact.bytes) == ("deep/file", len(content))
    assert fact.sha256 == hashlib.sha256(content).hexdigest()
    assert hash_file(tmp_path / "deep/file", Meter("m")) == fact.sha256
    assert seen[-1] == len(content)


def test_json_is_readable_text(tmp_path: Path) -> None:
    """JSON files keep other scripts readable."""
    write_json(tmp_path, "a.json", {"name": "東京"})
    assert "東京" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_pins(tmp_path: Path) -> None:
    """Another size or digest than the pinned one is refused."""
    fact = copy_hashed(io.BytesIO(b"abc"), tmp_path, "f", Meter("m"))
    check_pinned(fact, sha256=fact.sha256, size_bytes=3, origin="here")
    with pytest.raises(DigestMismatch, match="from here"):
        check_pinned(fact, sha256="0" * 64, size_bytes=3, origin="here")
    with pytest.raises(DigestMismatch):
        check_pinned(fact, sha256=fact.sha256, size_bytes=4, origin="here")


def test_room() -> None:
    """What is missing is told in a unit that people read."""
    require_room(Path("/store"), 10, lambda path: 10)
    with pytest.raises(DiskFull, match=r"1\.5 GB are needed in /store, 500 MB are free: 1\.0 GB"):
        require_room(Path("/store"), 1_500_000_000, lambda path: 500_000_000)


def test_a_sound_header_is_read(tmp_path: Path) -> None:
    """Tensors by name; the metadata entry is left out."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(GOOD)
    assert read_safetensors_header(path)["w"]["shape"] == [2, 3]


@given(cut=st.integers(0, len(GOOD) - 1))
def test_a_cut_anywhere_is_found(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A safetensors file that lacks even one byte is told to be truncated."""
    path = tmp_path_factory.mktemp("cut") / "w.safetensors"
    path.write_bytes(GOOD[:cut])
    with pytest.raises(CorruptModel, match="truncated"):
        read_safetensors_header(path)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 something else entirely",
        safetensors([1, 2], b""),
        safetensors({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)),
        safetensors({"w": {"shape": [2]}}, bytes(8)),
    ],
)
def test_nonsense_is_found(content: bytes, tmp_path: Path) -> None:
    """Other files, and headers that contradict themselves, are corrupt."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(CorruptModel):
        read_safetensors_header(path)
