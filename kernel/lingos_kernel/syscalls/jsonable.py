"""Results and items as plain JSON data, made once."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import msgspec
from pydantic import BaseModel

_PLAIN = frozenset({int, bool, type(None)})


def to_jsonable(value: Any) -> Any:
    """`value` made of dict, list, str, int, float, bool and None alone.

    Takes msgspec structs, pydantic models, dataclasses, enums, dates, paths, bytes (base64), sets,
    numpy scalars and arrays; a number that is not finite becomes None. Raises `TypeError` or
    `ValueError` for anything else, cycles and text that is not Unicode included.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is str:
        value.encode()
        return value
    try:
        return _decode(_encode(value))  # what a caller over the socket would see, exactly
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or contains itself") from error


def _convert(value: Any) -> Any:
    """What msgspec does not know."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, PurePath):
        return str(value)
    if callable(to_list := getattr(value, "tolist", None)):  # numpy, torch
        return to_list()
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not JSON")


_encode = msgspec.json.Encoder(enc_hook=_convert).encode
_decode = msgspec.json.Decoder().decode
