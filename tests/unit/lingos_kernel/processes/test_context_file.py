"""Saved contexts: whole or not at all, and every damage is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.errors import DamagedFile, InvalidArguments
from lingos_kernel.processes.context_file import SavedContext, read, save
from lingos_kernel.processes.contexts import Entry

ENTRY = Entry({"role": "user", "content": "hi"}, 3)
SAVED = SavedContext("story", "m", "id", [1, 2, 2**32 - 1], [ENTRY])


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    """Everything comes back; a second save replaces the first; nothing else is left behind."""
    path = tmp_path / "deep" / "story.ctx"
    assert save(SAVED, path) == path.stat().st_size
    save(SAVED, path)
    assert read(path) == SAVED
    assert [p.name for p in path.parent.iterdir()] == ["story.ctx"]


@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
def test_any_changed_byte_is_told(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    """No byte can change unseen."""
    path = tmp_path_factory.getbasetemp() / "changed.ctx"
    save(SAVED, path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= value
    path.write_bytes(data)
    with pytest.raises(DamagedFile):
        read(path)


def test_wrong_files_are_told(tmp_path: Path) -> None:
    """A missing, an empty, a foreign, a newer and a cut file each have their message."""
    path = tmp_path / "x.ctx"
    with pytest.raises(InvalidArguments, match="No such file"):
        read(path)
    for content in (b"", b"hello\nworld", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="no saved context"):
            read(path)
    save(SAVED, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(DamagedFile, match="checksum"):
        read(path)
    path.write_bytes(whole.replace(b"lingos-context 1", b"lingos-context 2"))
    with pytest.raises(DamagedFile, match="version 2"):
        read(path)
    for wrong in ([ENTRY, Entry({}, 2)], [], [Entry({}, 4)]):
        save(SavedContext("story", "m", "id", [1, 2, 3], wrong), path)
        with pytest.raises(DamagedFile, match="cover"):
            read(path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The file that was there stays."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidArguments, match="cannot be written"):
        save(SAVED, tmp_path / "file" / "story.ctx")
    (tmp_path / "folder.ctx").mkdir()
    with pytest.raises(InvalidArguments, match="cannot be written"):
        save(SAVED, tmp_path / "folder.ctx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.ctx"]
