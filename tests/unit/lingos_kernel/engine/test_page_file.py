"""Pages in files: found again after a restart, told apart from what a crash left."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lingos_kernel.engine.page_file import PageFile, remove_page_files

PAGE = 5000
OTHER = b"o" * 32
SAME = b"s" * 32


def opened(folder: Path, identity: bytes = SAME) -> PageFile:
    """The file, with room for four pages at least."""
    file = PageFile(folder, identity=identity, page_bytes=PAGE)
    if file.slots < 4:
        file.grow(4 - file.slots)
    return file


def page(number: int) -> memoryview:
    """Bytes of a page."""
    return memoryview(bytes([number]) * PAGE)


def key(number: int) -> bytes:
    """A key."""
    return bytes([number]) * 32


def test_pages_outlive_the_process(tmp_path: Path) -> None:
    """Keys, priorities and bytes are there when the folder is opened again."""
    file = opened(tmp_path / "kv")
    for slot in (2, 0):
        file.write(slot, key(slot), -slot, page(slot + 7))
    file.close()
    again = opened(tmp_path / "kv")
    left = {item.slot: item for item in again.left()}
    assert {slot: (item.key, item.priority) for slot, item in left.items()} == {
        0: (key(0), 0),
        2: (key(2), -2),
    }
    assert left[2].used_ns <= left[0].used_ns
    read = again.read(2, left[2].checksum)
    assert read is not None
    assert read == page(9)
    del read
    again.close()


def test_only_the_owner_can_look(tmp_path: Path) -> None:
    """The folder has mode 0700, its files 0600, whatever the umask is."""
    before = os.umask(0)
    try:
        opened(tmp_path / "kv").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kv").stat().st_mode) == 0o700
    for name in ("index", "pages"):
        assert stat.S_IMODE((tmp_path / "kv" / name).stat().st_mode) == 0o600


def test_another_identity_starts_empty(tmp_path: Path) -> None:
    """Pages of other weights or of another layout are never taken for one's own."""
    file = opened(tmp_path / "kv")
    file.write(0, key(1), 0, page(1))
    file.close()
    other = PageFile(tmp_path / "kv", identity=OTHER, page_bytes=PAGE)
    assert other.slots == 0
    assert not list(other.left())
    other.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second opening fails, and nobody removes what is open."""
    file = opened(tmp_path / "kv")
    with pytest.raises(BlockingIOError):
        opened(tmp_path / "kv")
    with pytest.raises(BlockingIOError):
        remove_page_files(tmp_path / "kv")
    file.close()
    assert remove_page_files(tmp_path / "kv") == 4 * 8192
    assert not (tmp_path / "kv").exists()


@pytest.mark.parametrize("at", [0, 31, 33, 40, 47, 51])
def test_a_torn_entry_is_passed_over(tmp_path: Path, at: int) -> None:
    """A changed byte anywhere in an entry makes it nobody's."""
    file = opened(tmp_path / "kv")
    file.write(0, key(1), 0, page(1))
    file.write(1, key(2), 0, page(2))
    file.close()
    index = bytearray((tmp_path / "kv" / "index").read_bytes())
    index[64 + at] ^= 255
    (tmp_path / "kv" / "index").write_bytes(index)
    again = opened(tmp_path / "kv")
    assert [item.key for item in again.left()] == [key(2)]
    again.close()


def test_a_torn_page_is_not_read(tmp_path: Path) -> None:
    """Bytes that are not what was written are told by their checksum."""
    file = opened(tmp_path / "kv")
    checksum = file.write(1, key(1), 0, page(1))
    with (tmp_path / "kv" / "pages").open("r+b") as pages:
        pages.seek(8192 + PAGE - 1)
        pages.write(b"x")
    assert file.read(1, checksum) is None
    file.close()


def test_a_write_that_never_ended_leaves_nothing(tmp_path: Path) -> None:
    """The entry is erased before the bytes change: a crash in between leaves no entry."""
    file = opened(tmp_path / "kv")
    file.write(0, key(1), 0, page(1))
    file.erase(0)
    file.close()
    again = opened(tmp_path / "kv")
    assert not list(again.left())
    again.close()


def test_a_file_that_was_cut_is_not_touched_beyond_its_end(tmp_path: Path) -> None:
    """Entries of pages that the file lacks are passed over, and cannot be read either."""
    file = opened(tmp_path / "kv")
    checksum = file.write(3, key(3), 0, page(3))
    file.write(0, key(0), 0, page(0))
    os.truncate(tmp_path / "kv" / "pages", 8192 + 100)
    assert file.read(3, checksum) is None
    file.close()
    again = PageFile(tmp_path / "kv", identity=SAME, page_bytes=PAGE)
    assert [item.key for item in again.left()] == [key(0)]
    again.close()


WRITER = """
import sys
from pathlib import Path
from lingos_kernel.engine.page_file import PageFile

file = PageFile(Path(sys.argv[1]), identity=b"s" * 32, page_bytes=2_000_000)
file.grow(4)
number = 0
while True:
    name = number % 251
    file.write(number % 4, bytes([name]) * 32, 0, memoryview(bytes([name]) * 2_000_000))
    number += 1
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_whole_pages_or_none(tmp_path: Path) -> None:
    """Whatever `kill -9` interrupts, an entry that is there has the bytes of its key."""
    for rounds in (5, 8, 13):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "kv")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= rounds:
                writer.kill()  # in the middle of the next write, or before or after it
                break
        writer.stdout.close()
        writer.wait()
        file = PageFile(tmp_path / "kv", identity=SAME, page_bytes=2_000_000)
        left = list(file.left())
        assert len(left) >= 3
        for item in left:
            whole = file.read(item.slot, item.checksum)
            assert whole is not None
            assert whole == item.key[:1] * 2_000_000
            del whole
        file.close()
