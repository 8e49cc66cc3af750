"""What client and server agree on: header names, content types, limits, and the JSON of a call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from lingos_kernel.errors import InvalidArguments

PID = "x-lingos-pid"
PRIORITY = "x-lingos-priority"
CONFIRMED = "x-lingos-confirmed"
TIMEOUT = "x-lingos-timeout-s"
CALLER = "x-lingos-caller"
CALL = "x-lingos-call"
"""In answers: the id of the call."""

JSON = "application/json"
EVENTS = "application/x-ndjson"
"""One JSON object per line; an empty line is a heartbeat."""

HEARTBEAT_S = 5.0
SILENCE_S = 3 * HEARTBEAT_S
"""After this long without a byte the client doubts that the kernel lives."""
MAX_BODY_BYTES = 64 << 20

GONE = "its caller went away"
"""Why a call is cancelled whose result nobody waits for."""


def encode_arguments(name: str, arguments: Mapping[str, Any]) -> bytes:
    """The JSON of a call's arguments; paths become text.

    Raises `InvalidArguments` for what has no JSON form, or is longer than `MAX_BODY_BYTES`.
    """
    try:
        body = msgspec.json.encode(arguments, enc_hook=_path_to_text)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidArguments(
            f"the arguments of {name} have no JSON form: {error}",
            hint="use texts (valid Unicode), numbers, lists and dictionaries",
        ) from error
    if len(body) > MAX_BODY_BYTES:
        raise InvalidArguments(
            f"the arguments of {name} take {len(body)} bytes, more than {MAX_BODY_BYTES}",
            hint="pass the name of a file instead of its content",
        )
    return body


def _path_to_text(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")


class ProcessRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What opens a process."""

    command: str
    kind: Literal["session", "job", "agent"] = "session"
    priority: int = 0

    @classmethod
    def read(cls, data: Any) -> ProcessRequest:
        """The request that a dictionary describes; raises `InvalidArguments`."""
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise InvalidArguments(
                f"no process can be opened so: {error}",
                hint="give command, kind (session, job, agent) and priority (-20 to 19)",
            ) from error


class LineSplitter:
    """Cuts a stream of bytes into lines; the work is linear in the bytes, however they arrive."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends; empty lines are left out."""
        first, *rest = data.split(b"\n")
        self._parts.append(first)
        if not rest:
            return []
        *whole, tail = b"".join(self._parts), *rest
        self._parts = [tail]
        return [line for line in whole if line]
