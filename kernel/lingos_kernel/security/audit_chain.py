"""The chain of the audit log: records sealed by hashes, over one file after another.

Each line is a JSON object whose `hash` is the SHA-256 of the line before's hash and its own other
fields, so a line that was changed, removed or put in breaks the chain there. When a file is full it
is set aside as `audit.N.jsonl`, and the next one begins with a `Link` that carries the chain on.
Cutting off the end shows only against the head (`AuditLog.head`) noted elsewhere; files that are
missing at the beginning, because they were too old, show as `Verification.is_complete`.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

GENESIS = "0" * 64


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


class Link(msgspec.Struct, frozen=True):
    """The first line of every file but the first."""

    time_s: float
    previous: str
    """The hash of the last line of the file before."""


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
    bad_file: str = ""
    """The file that it is in."""
    is_complete: bool = True
    """Whether the chain is there from its very beginning."""


_encode = msgspec.json.Encoder(order="deterministic").encode


def seal(record: msgspec.Struct, previous: str) -> tuple[bytes, str]:
    """The line of a record after the line with hash `previous`, and its own hash."""
    body = _encode(record)
    digest = hashlib.sha256(previous.encode() + body).hexdigest()
    return body[:-1] + b',"hash":"' + digest.encode() + b'"}\n', digest


def verify(path: Path) -> Verification:
    """Follow the chain of a log from its first line, over all its files.

    Raises `OSError` when one cannot be read.
    """
    files = [*set_aside(path).values(), *([path] if path.exists() else [])] or [path]
    first = _beginning(files[0])
    head, records, lost = first, 0, 0
    for each in files:
        with each.open("rb") as file:
            for number, line in enumerate(file, start=1):
                reason, fields = _check_line(line, head)
                if reason:
                    return Verification(
                        False, records, head, lost, number, reason, each.name, first == GENESIS
                    )
                head = fields["hash"]
                lost += fields.get("lost_records", 0)
                records += "call_id" in fields
    return Verification(True, records, head, lost, is_complete=first == GENESIS)


def set_aside(path: Path) -> dict[int, Path]:
    """The earlier files of a log by number, the oldest first."""
    name = re.compile(rf"{re.escape(path.stem)}\.(\d+){re.escape(path.suffix)}")
    found = {
        int(match[1]): each for each in _siblings(path) if (match := name.fullmatch(each.name))
    }
    return dict(sorted(found.items()))


def numbered(path: Path, number: int) -> Path:
    """Where a full file is set aside."""
    return path.with_name(f"{path.stem}.{number}{path.suffix}")


def _siblings(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _beginning(path: Path) -> str:
    """The hash before the first line of the oldest file."""
    with path.open("rb") as file:
        line = file.readline()
    try:
        return msgspec.json.decode(line, type=Link).previous
    except msgspec.DecodeError:
        return GENESIS


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


def hash_of(line: bytes) -> str:
    """The hash at the end of a line; what stands there when the line was tampered with."""
    return line[-_SEAL_BYTES:][len(',"hash":"') : -len('"}\n')].decode("ascii", "replace")


def read_tail(file: int) -> tuple[bytes, int]:
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
