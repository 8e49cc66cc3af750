"""The audit log: one record per call, chained by hashes, written in batches by a thread.

See `audit_chain` for what it promises. A file that is full is set aside; the oldest are removed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lingos_kernel.security.audit_chain import (
    GENESIS,
    AuditRecord,
    Gap,
    Link,
    hash_of,
    numbered,
    read_tail,
    seal,
    set_aside,
)

log = logging.getLogger(__name__)

MAX_PENDING = 20_000
"""Records kept in memory while the disk takes none; older ones are then dropped and counted."""
RETRY_S = 5.0
GATHER_S = 0.2
"""How long records are gathered before they are written together: a wake-up costs a call more than
all the rest of its accounting."""
BATCH = 1000
"""Records of one write."""
FILE_BYTES = 64 << 20
"""A file of this size is set aside and another one begun."""
FILES_KEPT = 16
"""Of those set aside; older ones are removed."""


@dataclass(frozen=True, slots=True)
class AuditStats:
    """How the log is doing."""

    written: int
    pending: int
    lost: int
    error: str
    """Why the last write failed; empty when it did not."""


class AuditLog:
    """Appends records to a file, from any thread, without waiting for the disk."""

    def __init__(
        self,
        path: Path,
        *,
        file_bytes: int = FILE_BYTES,
        files_kept: int = FILES_KEPT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is opened before `start`. `clock` gives Unix time."""
        self.path = path
        self._file_bytes = file_bytes
        self._files_kept = files_kept
        self._clock = clock
        self._pending: deque[AuditRecord] = deque()
        self._lost = 0
        self._lost_total = 0
        self._written = 0
        self._error = ""
        self._failures = 0
        self._head = GENESIS
        self._file: int | None = None
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write, after what the file holds already."""
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def append(self, record: AuditRecord) -> None:
        """Keep a record for writing. Never waits, never raises."""
        self._pending.append(record)
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Try to write now, and wait for the outcome; True when nothing is left to write."""
        with self._changed:
            before = self._failures
            self._hurry.set()
            self._wake.set()
            self._changed.wait_for(lambda: not self._pending or self._failures > before, timeout_s)
        return not self._pending

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what is pending, and make sure that the disk has it."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    @property
    def head(self) -> str:
        """The hash of the last line written."""
        return self._head

    def stats(self) -> AuditStats:
        """How the log is doing."""
        return AuditStats(self._written, len(self._pending), self._lost_total, self._error)

    # The writer's thread

    def _run(self) -> None:
        while True:
            self._wake.wait(RETRY_S if self._error else None)
            self._hurry.wait(GATHER_S)
            self._hurry.clear()
            self._wake.clear()
            last = self._stopping  # read first: what came before `stop` is still written
            try:
                while self._pending:
                    self._write_batch()
            except OSError as error:
                self._note_failure(error)
            with self._changed:
                self._changed.notify_all()
            if last:
                break
        self._close()

    def _write_batch(self) -> None:
        """Write what is pending as one piece; on failure the file is as before."""
        if self._file is None:
            self._file = self._open()
        if os.fstat(self._file).st_size >= self._file_bytes:
            self._set_aside()
            self._file = self._open()
        size = os.fstat(self._file).st_size
        batch = [self._pending[n] for n in range(min(len(self._pending), BATCH))]
        link = [] if size or self._head == GENESIS else [Link(self._clock(), self._head)]
        records: list[msgspec.Struct] = [*link, *self._gap(), *batch]
        lines, head = [], self._head
        for record in records:
            line, head = seal(record, head)
            lines.append(line)
        try:
            _write_all(self._file, b"".join(lines))
        except OSError:
            os.ftruncate(self._file, size)
            raise
        for _ in batch:
            self._pending.popleft()
        self._head = head
        self._written += len(batch)
        self._lost = 0
        if self._error:
            log.warning("the audit log %s is written again", self.path)
            self._error = ""

    def _gap(self) -> list[msgspec.Struct]:
        return [Gap(self._clock(), lost_records=self._lost)] if self._lost else []

    def _note_failure(self, error: OSError) -> None:
        if not self._error:
            log.error("the audit log %s cannot be written: %s", self.path, error)
        self._error = str(error)
        self._failures += 1
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft()
            self._lost += 1
            self._lost_total += 1

    def _open(self) -> int:
        """Open the file and take up its chain; a line cut off by a crash is replaced by a gap."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            last, torn = read_tail(file)
            self._head = hash_of(last) if last else self._head_set_aside()
            if torn:
                os.ftruncate(file, os.fstat(file).st_size - torn)
                line, self._head = seal(Gap(self._clock(), lost_bytes=torn), self._head)
                _write_all(file, line)
        except BaseException:
            os.close(file)
            raise
        return file

    def _set_aside(self) -> None:
        """Keep a full file under a number of its own, and remove those that are too old."""
        earlier = set_aside(self.path)
        self._close()
        self.path.rename(numbered(self.path, max(earlier, default=0) + 1))
        for old in list(earlier.values())[: max(len(earlier) + 1 - self._files_kept, 0)]:
            old.unlink()

    def _head_set_aside(self) -> str:
        """The hash that an empty file goes on from."""
        earlier = list(set_aside(self.path).values())
        if not earlier:
            return GENESIS
        file = os.open(earlier[-1], os.O_RDONLY | os.O_CLOEXEC)
        try:
            return hash_of(read_tail(file)[0])
        finally:
            os.close(file)

    def _close(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                self._note_failure(error)
            os.close(self._file)
            self._file = None


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
