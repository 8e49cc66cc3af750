"""The audit log: one record per call, chained by hashes, written in batches by a thread.

Each line is a JSON object whose `hash` is the SHA-256 of the line before's hash and its own other
fields, so a line that was changed, removed or put in breaks the chain there. Cutting off the end
shows only against the head (`AuditLog.head`) noted elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

log = logging.getLogger(__name__)

GENESIS = "0" * 64
MAX_PENDING = 20_000
"""Records kept in memory while the disk takes none; older ones are then dropped and counted."""
RETRY_S = 5.0
GATHER_S = 0.2
"""How long records are gathered before they are written together: a wake-up costs a call more than
all the rest of its accounting."""
BATCH = 1000
"""Records of one write."""


class AuditRecord(msgspec.Struct, frozen=True):
    """A call, without the values that were given to it."""

    time_s: float
    """Unix time of its end."""
    principal: str
    tenant: str
    caller: str
    """human, code, notebook, http, model, plugin, kernel."""
    pid: int
    call_id: str
    parent_id: str
    syscall: str
    outcome: str
    """`ok`, or the code of the error."""
    run_s: float
    arguments: tuple[str, ...]
    """Their names."""


class Gap(msgspec.Struct, frozen=True):
    """Stands where records were lost."""

    time_s: float
    lost_records: int = 0
    lost_bytes: int = 0
    """Of a line cut off by a crash."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found."""

    intact: bool
    records: int
    head: str
    """The hash of the last good line."""
    lost_records: int
    bad_line: int | None = None
    """The first line that breaks the chain, from 1."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class AuditStats:
    """How the log is doing."""

    written: int
    pending: int
    lost: int
    error: str
    """Why the last write failed; empty when it did not."""


_encode = msgspec.json.Encoder(order="deterministic").encode


def seal(record: msgspec.Struct, previous: str) -> tuple[bytes, str]:
    """The line of a record after the line with hash `previous`, and its own hash."""
    body = _encode(record)
    digest = hashlib.sha256(previous.encode() + body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', digest


class AuditLog:
    """Appends records to a file, from any thread, without waiting for the disk."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Nothing is opened before `start`. `clock` gives Unix time."""
        self.path = path
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
        batch = [self._pending[n] for n in range(min(len(self._pending), BATCH))]
        records: list[msgspec.Struct] = [*self._gap(), *batch]
        lines, head = [], self._head
        for record in records:
            line, head = seal(record, head)
            lines.append(line)
        size = os.fstat(self._file).st_size
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
            last, torn = _read_tail(file)
            self._head = _hash_of(last) if last else GENESIS
            if torn:
                os.ftruncate(file, os.fstat(file).st_size - torn)
                line, self._head = seal(Gap(self._clock(), lost_bytes=torn), self._head)
                _write_all(file, line)
        except BaseException:
            os.close(file)
            raise
        return file

    def _close(self) -> None:
        if self._file is not None:
            try:
                os.fsync(self._file)
            except OSError as error:
                self._note_failure(error)
            os.close(self._file)
            self._file = None


def verify(path: Path) -> Verification:
    """Follow the chain of a log from its first line; raises `OSError` when it cannot be read."""
    head, records, lost, number = GENESIS, 0, 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            reason, fields = _check_line(line, head)
            if reason:
                return Verification(False, records, head, lost, number, reason)
            head = fields["hash"]
            lost += fields.get("lost_records", 0)
            records += "call_id" in fields
    return Verification(True, records, head, lost)


def _check_line(line: bytes, previous: str) -> tuple[str, dict[str, Any]]:
    """Why a line does not follow the previous hash (empty when it does), and its fields."""
    if not line.endswith(b"\n"):
        return "the line is cut off", {}
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return f"the line is not JSON: {error}", {}
    body = line[:-_SEAL_BYTES] + b"}"
    digest = hashlib.sha256(previous.encode() + body).hexdigest()
    if fields.get("hash") != digest:
        return "the line's hash does not follow from the line before and its fields", {}
    return "", fields


_SEAL_BYTES = len(',"hash":""}\n') + 64


def _hash_of(line: bytes) -> str:
    """The hash at the end of a line; what stands there when the line was tampered with."""
    return line[-_SEAL_BYTES:][len(',"hash":"') : -len('"}\n')].decode("ascii", "replace")


def _read_tail(file: int) -> tuple[bytes, int]:
    """The last whole line of a file (empty when there is none), and the bytes after it."""
    size = os.fstat(file).st_size
    tail, start = b"", size
    while start > 0 and tail.count(b"\n") < 2:
        step = min(start, 65_536)
        start -= step
        tail = os.pread(file, step, start) + tail
    whole, _, torn = tail.rpartition(b"\n")
    if not whole:
        return b"", len(torn)
    return whole.rpartition(b"\n")[2] + b"\n", len(torn)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]
