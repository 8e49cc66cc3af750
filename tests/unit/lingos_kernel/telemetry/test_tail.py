"""The last lines of a file, and the new ones."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.telemetry.tail import BLOCK, FileTail


def test_following(tmp_path: Path) -> None:
    """Half a line waits for its end; a file set aside is followed by the one in its place."""
    path = tmp_path / "log"
    tail = FileTail(path)
    assert tail.last(3) == []
    assert tail.new() == []
    path.write_bytes(b"a\nb\nc")
    assert tail.last(1) == [b"b"]
    assert tail.new() == []
    with path.open("ab") as file:
        file.write(b"d\ne\n")
    assert tail.new() == [b"cd", b"e"]
    path.rename(tmp_path / "log.1")
    assert tail.new() == []
    path.write_bytes(b"f\n")
    assert tail.new() == [b"f"]
    path.write_bytes(b"")
    assert tail.new() == []


@given(st.lists(st.integers(0, BLOCK), max_size=6), st.integers(0, 8))
def test_last_lines(tmp_path_factory, sizes: list[int], count: int) -> None:
    """Whatever their lengths, the last lines are whole."""
    path = tmp_path_factory.mktemp("tail") / "log"
    lines = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    assert FileTail(path).last(count) == (lines[-count:] if count else [])
