"""KV pages on a disk: found again after a restart. Switches itself off when the disk fails."""

from __future__ import annotations

import logging
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from lingos_kernel.engine.page_file import PageFile, disk_bytes, remove_page_files
from lingos_kernel.engine.tier import Demote
from lingos_kernel.memory.tier_index import TierIndex

log = logging.getLogger("lingos.kv")

MIN_GROW_BYTES, GROW_BYTES = 4 << 20, 64 << 20
"""The file doubles, by steps within these bounds: most writes cannot find the disk full."""
MAX_UNWRITTEN_BYTES = 256 << 20
"""Pages that wait for the disk; more than that are refused."""
CLOSE_S = 2.0
"""What is not written by then is lost, as any cache may be."""
DEFAULT_BYTES = 1 << 30
FREE_SHARE = 20
"""The default takes at most one in so many of the free bytes."""


class DiskTier:
    """The pages of one model in a folder of its own, written by a thread behind the engine."""

    name = "disk"
    outlives_engine = True

    def __init__(self, root: Path, *, identity: str, page_bytes: int, limit_bytes: int) -> None:
        """`limit_bytes` is for all models' folders in `root`; 0 decides from the free space."""
        self.off_reason = ""
        self._root = root
        self._page_bytes = page_bytes
        self._index = TierIndex(0)
        self._checksums: dict[int, int] = {}
        self._unwritten: dict[int, Tensor] = {}
        self._lock = threading.Lock()
        self._writes: list[Future[None]] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="kv-disk")
        self._limit_bytes = limit_bytes
        self._file: PageFile | None = None
        digest = blake2b(identity.encode(), digest_size=32).digest()
        try:
            self._open(root / digest.hex()[:32], digest)
        except BlockingIOError:
            self._switch_off("its folder is in use")
        except OSError as error:
            self._switch_off(str(error))

    def __contains__(self, key: bytes) -> bool:
        return key in self._index

    def __len__(self) -> int:
        return len(self._index)

    @property
    def total_bytes(self) -> int:
        """What it may take."""
        return 0 if self.off_reason else self._limit_bytes

    @property
    def unwritten_bytes(self) -> int:
        """What waits for the disk."""
        return len(self._unwritten) * self._page_bytes

    def put(self, key: bytes, row: Tensor, priority: int, demote: Demote) -> bool:  # noqa: ARG002  the lowest tier demotes nothing
        """Have a page written soon; it can be read at once."""
        if self._has_failed() or self.unwritten_bytes >= MAX_UNWRITTEN_BYTES:
            return False
        if len(self._index) == self._index.slots:
            self._grow()
        # Growing may have switched it off: nothing is taken in that could not be given back.
        placed = None if self.off_reason else self._index.put(key, priority)
        if placed is None:
            return False
        slot, copy = placed.entry.slot, row.clone()
        with self._lock:
            self._unwritten[slot] = copy
        self._writes.append(self._writer.submit(self._write, slot, key, priority, copy))
        return True

    def get(self, key: bytes) -> Tensor | None:
        """The page's bytes, mapped from the file; None, and forgotten, when they are damaged."""
        entry, file = self._index.get(key), self._file
        if entry is None or self._has_failed() or file is None:
            return None
        with self._lock:
            row = self._unwritten.get(entry.slot)
            checksum = self._checksums.get(entry.slot, 0)
        if row is not None:
            return row
        try:
            page = file.read(entry.slot, checksum)
            if page is not None:
                return torch.frombuffer(page, dtype=torch.uint8)
            log.warning("a KV page on the disk is damaged and is dropped")
            self._index.remove(key)
            file.erase(entry.slot)
        except OSError as error:
            self._switch_off(str(error))
        return None

    def touch(self, key: bytes, priority: int) -> None:
        """Note a use, also for the next life of the tier."""
        entry = self._index.touch(key, priority)
        with self._lock:
            checksum = self._checksums.get(entry.slot)
            is_written = entry.slot not in self._unwritten
        if is_written and checksum is not None and self._file:
            try:
                self._file.note(entry.slot, key, priority, checksum)
            except OSError as error:
                self._switch_off(str(error))

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all is written, or no longer than that."""
        wait(self._writes, timeout=timeout_s)
        self._has_failed()

    def ranked(self) -> list[tuple[bytes, int]]:
        """All pages with their priorities, the most urgent and most recently used first."""
        entries = sorted(self._index, key=lambda entry: (entry.priority, -entry.used))
        return [(entry.key, entry.priority) for entry in entries]

    def clear(self) -> None:
        """Forget everything."""
        self.flush()
        try:
            if self._file:
                for entry in self._index:
                    self._file.erase(entry.slot)
        except OSError as error:
            self._switch_off(str(error))
        self._index.clear()

    def close(self) -> None:
        """Write what is not written yet, as far as time allows."""
        self.flush(CLOSE_S)
        self._writer.shutdown(cancel_futures=True)
        if self._file:
            self._file.close()
            self._file = None
        self._index.clear()

    def check_integrity(self) -> None:
        """Assert that the books are right."""
        self._index.check_integrity()

    def _open(self, folder: Path, digest: bytes) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._limit_bytes:
            free = shutil.disk_usage(self._root).free
            self._limit_bytes = min(DEFAULT_BYTES, free // FREE_SHARE)
        self._file = PageFile(folder, identity=digest, page_bytes=self._page_bytes)
        self._file.shrink(self._limit_bytes // self._file.stride)
        left = sorted(self._file.left(), key=lambda item: item.used_ns)
        self._index.slots = self._file.slots
        self._index.fill((item.key, item.slot, item.priority) for item in left)
        self._checksums = {item.slot: item.checksum for item in left}

    def _grow(self) -> None:
        """Take more of the disk, if the limit allows: from models that are not in use, too."""
        assert self._file is not None
        stride = self._file.stride
        room = self._limit_bytes - self._index.slots * stride
        if room < stride:
            return
        step = min(max(self._index.slots * stride, MIN_GROW_BYTES), GROW_BYTES)
        slots = min(max(step // stride, 1), room // stride)
        try:
            others = [f for f in self._root.iterdir() if f != self._file.folder and f.is_dir()]
            slots = min(slots, (room - _shrink(others, room - slots * stride)) // stride)
            if slots > 0:
                self._file.grow(slots)
                self._index.slots += slots
        except OSError as error:
            self._switch_off(str(error))

    def _write(self, slot: int, key: bytes, priority: int, row: Tensor) -> None:
        """In the writer's thread."""
        if self.off_reason or self._file is None:
            return
        checksum = self._file.write(slot, key, priority, row.numpy().data)
        with self._lock:
            self._checksums[slot] = checksum
            if self._unwritten.get(slot) is row:
                del self._unwritten[slot]

    def _has_failed(self) -> bool:
        while self._writes and self._writes[0].done():
            error = self._writes.pop(0).exception()
            if error and not self.off_reason:
                self._switch_off(str(error))
        return bool(self.off_reason)

    def _switch_off(self, reason: str) -> None:
        """Go on without the disk."""
        log.warning("KV pages are not kept on the disk (%s): %s", self._root, reason)
        self.off_reason = reason
        self._index.clear()
        with self._lock:
            self._unwritten.clear()


def _shrink(folders: list[Path], allowed_bytes: int) -> int:
    """Remove folders of models that nobody uses, oldest first; the bytes that the rest takes."""
    sizes = {folder: disk_bytes(folder) for folder in folders}
    by_age = sorted(
        (folder for folder in folders if (folder / "index").exists()),
        key=lambda folder: (folder / "index").stat().st_mtime_ns,
    )
    for folder in by_age:
        if sum(sizes.values()) <= allowed_bytes:
            break
        try:
            remove_page_files(folder)
        except BlockingIOError:
            continue  # somebody uses it
        sizes[folder] = 0
    return sum(sizes.values())
