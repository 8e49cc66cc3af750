"""What a call tells its caller, in order: `Accepted`, any of `Item` and `Progress`, then one end.

Every call ends in exactly one of `Result` (a result) and `Failure` (an error, a timeout or a
cancel, told apart by the error's code).
"""

from __future__ import annotations

from typing import Any

import msgspec


class CallEvent(msgspec.Struct, frozen=True, tag_field="event", tag=str.lower, omit_defaults=True):
    """Base of the events of one call; on the wire one JSON object each, tagged `event`."""


class Accepted(CallEvent, frozen=True):
    """The call passed authorisation and validation and has its place."""

    call_id: str
    pid: int


class Item(CallEvent, frozen=True):
    """One streamed piece, JSON-able; text fragments are `{"text": "..."}`."""

    data: Any


class Progress(CallEvent, frozen=True):
    """How far a long call is."""

    done: float
    total: float | None = None
    unit: str = ""
    label: str = ""


class Result(CallEvent, frozen=True):
    """The call is done; `data` is its JSON-able result."""

    data: Any


class Failure(CallEvent, frozen=True):
    """The call ended in an error; `error` is `errors.to_wire` of it."""

    error: dict[str, Any]


AnyEvent = Accepted | Item | Progress | Result | Failure

encode_event = msgspec.json.Encoder().encode
decode_event = msgspec.json.Decoder(AnyEvent).decode
