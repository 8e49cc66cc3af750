"""A context in a file of its own, to keep or to carry to another machine.

lingos-context 1 <SHA-256 of the rest, in hex>\\n
<zlib: JSON of `SavedContext`>
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import zlib
from pathlib import Path

import msgspec

from lingos_kernel.errors import DamagedFile, DiskFull, InvalidArguments
from lingos_kernel.processes.contexts import Entry

MAGIC = b"lingos-context"
VERSION = b"1"
SUFFIX = ".ctx"
_HINT = "give a file that ctx.save has written"


class SavedContext(msgspec.Struct, frozen=True):
    """What is kept of a context."""

    name: str
    model: str
    model_id: str
    tokens: list[int]
    entries: list[Entry]


def save(context: SavedContext, path: Path) -> int:
    """Write a context, whole or not at all; returns its bytes.

    Raises `DiskFull`, or `InvalidArguments` for a path that cannot be written.
    """
    body = zlib.compress(msgspec.json.encode(context))
    digest = hashlib.sha256(body).hexdigest().encode()
    data = b" ".join((MAGIC, VERSION, digest)) + b"\n" + body
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, data)
    except OSError as error:
        kind = DiskFull if error.errno == errno.ENOSPC else InvalidArguments
        raise kind(
            f"{path} cannot be written: {error.strerror}", hint="choose another path"
        ) from error
    return len(data)


def read(path: Path) -> SavedContext:
    """The context in a file; raises `InvalidArguments`, `DamagedFile`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidArguments(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    first, _, body = data.partition(b"\n")
    words = first.split(b" ")
    if len(words) != 3 or words[0] != MAGIC:
        raise DamagedFile(f"{path} is no saved context", hint=_HINT)
    if words[1] != VERSION:
        version = words[1].decode("ascii", "replace")
        raise DamagedFile(
            f"{path} is of version {version}, not {VERSION.decode()}",
            hint="open it with the LingOS that wrote it",
        )
    if hashlib.sha256(body).hexdigest().encode() != words[2]:
        raise DamagedFile(f"{path} is damaged: its checksum is another one", hint=_HINT)
    try:
        context = msgspec.json.decode(zlib.decompress(body), type=SavedContext)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise DamagedFile(f"{path} is damaged: {error}", hint=_HINT) from error
    _check(context, path)
    return context


def _check(context: SavedContext, path: Path) -> None:
    ends = [entry.end for entry in context.entries]
    is_whole = ends == sorted(ends) and (ends[-1] if ends else 0) == len(context.tokens)
    if not is_whole or not all(0 <= token < 2**32 for token in context.tokens):
        raise DamagedFile(f"{path} is damaged: its messages do not cover its tokens", hint=_HINT)


def _replace(path: Path, data: bytes) -> None:
    """Put a file in place of another in one step; on any error that one stays."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
