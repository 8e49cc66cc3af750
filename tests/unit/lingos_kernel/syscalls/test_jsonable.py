"""Results as plain JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lingos_kernel.syscalls.jsonable import to_jsonable


class Kind(enum.Enum):
    """One."""

    A = "a"


class Model(BaseModel):
    """A model."""

    path: Path


class Row(msgspec.Struct):
    """A struct."""

    n: int


@dataclasses.dataclass
class Data:
    """A dataclass."""

    rows: tuple[Row, ...]


def test_what_is_taken() -> None:
    """Everything that has an obvious JSON form gets it, at any depth."""
    value = {
        "tuple": (1, 2.5, None, True),
        3: {4},
        "path": Path("x"),
        "scalar": numpy.float32(1.5),
        "array": numpy.eye(2, dtype=int),
        "model": Model(path=Path("y")),
        "data": Data((Row(1),)),
        "enum": Kind.A,
        "bytes": b"x",
        "inf": math.inf,
    }
    assert to_jsonable(value) == {
        "tuple": [1, 2.5, None, True],
        "3": [4],
        "path": "x",
        "scalar": 1.5,
        "array": [[1, 0], [0, 1]],
        "model": {"path": "y"},
        "data": {"rows": [{"n": 1}]},
        "enum": "a",
        "bytes": "eA==",
        "inf": None,
    }


@pytest.mark.parametrize("value", [object(), "\ud800", ["\udcff"], {("a",): 1}, print, 1j])
def test_what_is_refused(value: Any) -> None:
    """What has none is refused."""
    with pytest.raises((TypeError, ValueError)):
        to_jsonable(value)


def test_cycles_and_depths() -> None:
    """A value that contains itself is an error, not a crash."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="contains itself"):
        to_jsonable(loop)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
).filter(lambda value: "Infinity" not in json.dumps(value))


@settings(deadline=None)
@given(PLAIN)
def test_json_is_left_alone(value: Any) -> None:
    """Plain JSON comes out as it went in."""
    assert to_jsonable(value) == value
