"""Arguments and lines on the wire."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.client import wire
from lingos_kernel.errors import InvalidArguments


@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))),
    cuts=st.lists(st.integers(min_value=0, max_value=200)),
)
def test_lines_do_not_depend_on_how_they_arrive(lines: list[bytes], cuts: list[int]) -> None:
    """However the bytes are cut, the same non-empty lines come out, in order."""
    data = b"".join(line + b"\n" for line in lines)
    splitter = wire.LineSplitter()
    seen: list[bytes] = []
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for begin, end in pairwise(edges):
        seen += splitter.feed(data[begin:end])
    assert seen == [line for line in lines if line]


def test_half_a_line_is_held_back() -> None:
    """A line is given out when its end has come, not before."""
    splitter = wire.LineSplitter()
    assert splitter.feed(b"\n\nab") == []
    assert splitter.feed(b"c") == []
    assert splitter.feed(b"d\ne") == [b"abcd"]


def test_paths_become_text() -> None:
    """A path among the arguments travels as text."""
    assert wire.encode_arguments("x.y", {"file": Path("/a/ü")}) == '{"file":"/a/ü"}'.encode()


def test_nesting_without_end_is_refused() -> None:
    """A structure that contains itself has no JSON form."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidArguments, match="no JSON form"):
        wire.encode_arguments("x.y", {"data": loop})


def test_too_much_is_refused_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments beyond the limit of a request's body never leave."""
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 100)
    with pytest.raises(InvalidArguments, match="more than 100"):
        wire.encode_arguments("x.y", {"data": "x" * 100})


def test_process_request() -> None:
    """A process is opened with known fields of the right type only."""
    assert wire.ProcessRequest.read({"command": "x"}).kind == "session"
    for wrong in ({}, {"command": 1}, {"command": "x", "kind": "kernel"}, {"command": "x", "a": 1}):
        with pytest.raises(InvalidArguments):
            wire.ProcessRequest.read(wrong)
