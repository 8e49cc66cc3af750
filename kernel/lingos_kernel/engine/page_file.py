"""KV pages in files that outlive the process, and a crash in the middle of a write.

A folder holds `index` (a header, then 64 bytes a slot) and `pages` (the bytes, memory-mapped for
reading). An entry names its page's key and the checksums of the bytes and of itself. Before a
slot's bytes change its entry is erased, and written again after them; whatever a crash leaves
in between, a checksum tells.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FORMAT_VERSION = 1
MAGIC = b"LingOSKV"
_HEADER = struct.Struct("<8sIQ32sI")
_ENTRY = struct.Struct("<32siQII")
_ENTRY_BYTES = 64
_ALIGNMENT = 4096


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier life left in a slot."""

    key: bytes
    slot: int
    priority: int
    used_ns: int
    checksum: int


class PageFile:
    """Fixed-size pages by slot. One process at a time has it open; `OSError` tells what fails."""

    def __init__(self, folder: Path, *, identity: bytes, page_bytes: int) -> None:
        """Open or create; what is there for another identity (32 bytes) is thrown away.

        Raises `BlockingIOError` when another process has it open.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.page_bytes = page_bytes
        self.stride = -(-page_bytes // _ALIGNMENT) * _ALIGNMENT
        self._index = os.open(folder / "index", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._index, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._pages = os.open(folder / "pages", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            os.close(self._index)
            raise
        self._map: mmap.mmap | None = None
        header = _seal(_HEADER, MAGIC, FORMAT_VERSION, page_bytes, identity)
        if os.pread(self._index, len(header), 0) != header:
            os.ftruncate(self._index, 0)
            os.ftruncate(self._pages, 0)
            os.pwrite(self._index, header, 0)

    @property
    def slots(self) -> int:
        """Pages that have room on the disk."""
        return os.fstat(self._pages).st_size // self.stride

    def grow(self, slots: int) -> None:
        """Make room for so many more pages; raises `OSError` when the disk is full."""
        size = self.slots * self.stride
        os.posix_fallocate(self._pages, size, slots * self.stride)
        self._map = None

    def shrink(self, slots: int) -> None:
        """Give back what is beyond so many pages."""
        if self.slots > slots:
            os.ftruncate(self._pages, slots * self.stride)

    def left(self) -> Iterator[Left]:
        """What an earlier life left; entries that are torn or have no page are passed over."""
        data = os.pread(self._index, self.slots * _ENTRY_BYTES, _ENTRY_BYTES)
        for slot in range(len(data) // _ENTRY_BYTES):
            packed = data[slot * _ENTRY_BYTES : slot * _ENTRY_BYTES + _ENTRY.size]
            key, priority, used_ns, checksum, _ = _ENTRY.unpack(packed)
            if packed == _seal(_ENTRY, key, priority, used_ns, checksum):
                yield Left(key, slot, priority, used_ns, checksum)

    def write(self, slot: int, key: bytes, priority: int, page: memoryview) -> int:
        """Put a page into a slot; its checksum."""
        self.erase(slot)
        _write_all(self._pages, page, slot * self.stride)
        checksum = zlib.crc32(page)
        self.note(slot, key, priority, checksum)
        return checksum

    def note(self, slot: int, key: bytes, priority: int, checksum: int) -> None:
        """Write a slot's entry, as used just now."""
        entry = _seal(_ENTRY, key, priority, time.time_ns(), checksum)
        os.pwrite(self._index, entry, _entry_at(slot))

    def erase(self, slot: int) -> None:
        """Forget what a slot holds."""
        os.pwrite(self._index, bytes(_ENTRY_BYTES), _entry_at(slot))

    def read(self, slot: int, checksum: int) -> memoryview | None:
        """The bytes of a slot, mapped; None when they are not what was written."""
        end = (slot + 1) * self.stride
        if self._map is None or len(self._map) < end:
            # Touching a map beyond the end of its file would end the process.
            if os.fstat(self._pages).st_size < end:
                return None
            self._map = mmap.mmap(self._pages, 0)
        page = memoryview(self._map)[slot * self.stride :][: self.page_bytes]
        return page if zlib.crc32(page) == checksum else None

    def close(self) -> None:
        """Let others open it."""
        self._map = None
        os.close(self._pages)
        os.close(self._index)


def remove_page_files(folder: Path) -> int:
    """Remove the files of a folder that no process has open; how many bytes that gave."""
    index = os.open(folder / "index", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = disk_bytes(folder)
        (folder / "pages").unlink(missing_ok=True)
        (folder / "index").unlink()
        folder.rmdir()
    finally:
        os.close(index)
    return size


def disk_bytes(folder: Path) -> int:
    """Bytes that a folder's pages take on the disk."""
    pages = folder / "pages"
    return pages.stat().st_size if pages.exists() else 0


def _entry_at(slot: int) -> int:
    return (slot + 1) * _ENTRY_BYTES  # the header has the room of one


def _seal(layout: struct.Struct, *fields: bytes | int) -> bytes:
    """The fields, with their checksum as the last one."""
    return layout.pack(*fields, zlib.crc32(layout.pack(*fields, 0)))


def _write_all(file: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written
