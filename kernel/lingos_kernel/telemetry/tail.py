"""The last lines of a file, and those that are written to it from then on."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK = 65_536
MOST = 8 << 20
"""Bytes read at once; of more, only the last ones."""


class FileTail:
    """Reads whole lines; follows a file that is set aside, emptied or made later."""

    def __init__(self, path: Path) -> None:
        """Opens nothing."""
        self._path = path
        self._at = 0
        self._inode = 0

    def last(self, count: int) -> list[bytes]:
        """The last lines, without their ends; `new` goes on behind them.

        Empty when there is no file. Raises `OSError` when it cannot be read.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            status = os.fstat(file)
            self._inode, end = status.st_ino, status.st_size
            tail, start = b"", end
            while start > 0 and tail.count(b"\n") <= count and len(tail) < MOST:
                step = min(start, BLOCK)
                start -= step
                tail = os.pread(file, step, start) + tail
        finally:
            os.close(file)
        whole, mark, torn = tail.rpartition(b"\n")
        self._at = end - len(torn)
        if start > 0:
            whole = whole.partition(b"\n")[2]
        return whole.split(b"\n")[-count:] if mark and count else []

    def new(self) -> list[bytes]:
        """Lines that have been written since.

        A file that took its place is read from its beginning; what the old one got between two
        looks is not seen.
        """
        lines: list[bytes] = []
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return lines
        try:
            status = os.fstat(file)
            if status.st_ino != self._inode or status.st_size < self._at:
                self._inode, self._at = status.st_ino, 0
            data = os.pread(file, MOST, self._at)
        finally:
            os.close(file)
        whole, mark, _ = data.rpartition(b"\n")
        if mark:
            self._at += len(whole) + 1
            lines = whole.split(b"\n")
        return lines
