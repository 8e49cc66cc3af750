"""Frames on a byte stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.engine.framing import FrameDecoder, frame
from lingos_kernel.engine.messages import Cancel, decode_command
from lingos_kernel.errors import EngineError


@given(st.lists(st.text(max_size=300), max_size=8), st.data())
def test_cuts_do_not_matter(names: list[str], data: st.DataObject) -> None:
    """However the stream is cut into pieces, the same messages come out, in order."""
    stream = b"".join(frame(Cancel(name)) for name in names)
    decoder = FrameDecoder()
    payloads: list[bytes] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        payloads += decoder.feed(stream[:size])
        stream = stream[size:]
    assert [decode_command(payload) for payload in payloads] == [Cancel(name) for name in names]


def test_impossible_length() -> None:
    """A length that no frame has shows that the stream is broken."""
    with pytest.raises(EngineError, match="broken"):
        FrameDecoder().feed(b"\xff\xff\xff\xff")
