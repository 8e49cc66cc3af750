"""The kernel's log file."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingos_kernel.server import logs
from lingos_kernel.server.logs import KernelLog

TAKES_STDERR = """
import logging, os, sys
from pathlib import Path
from lingos_kernel.server.logs import KernelLog

handler = KernelLog(Path(sys.argv[1]), takes_stderr=True)
logger = logging.getLogger("x")
logger.addHandler(handler)
os.write(2, b"before\\n")
handler.doRollover()
os.write(2, b"after\\n")
Path(sys.argv[1]).rename(sys.argv[1] + ".moved")
handler.reopen()
os.write(2, b"reopened\\n")
"""


@pytest.fixture
def handler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelLog]:
    """A log that rotates after a few lines."""
    monkeypatch.setattr(logs, "FILE_BYTES", 300)
    handler = KernelLog(tmp_path / "kernel.log", takes_stderr=False)
    yield handler
    handler.close()


def test_log_stays_bounded(handler: KernelLog, tmp_path: Path) -> None:
    """Old lines go, the newest stay; there are never more than a few files."""
    for number in range(100):
        handler.emit(logging.LogRecord("x", 20, "", 0, f"line {number} {'ü' * 20}", (), None))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["kernel.log", "kernel.log.1", "kernel.log.2", "kernel.log.3"]
    assert "line 99" in (tmp_path / "kernel.log").read_text(encoding="utf-8")
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())


def test_stderr_follows_the_log(tmp_path: Path) -> None:
    """What a process writes to stderr goes to the log's current file, through every change."""
    path = tmp_path / "kernel.log"
    subprocess.run([sys.executable, "-c", TAKES_STDERR, str(path)], check=True, timeout=60)
    assert path.with_name("kernel.log.1").read_text() == "before\n"
    assert path.with_name("kernel.log.moved").read_text() == "after\n"
    assert path.read_text() == "reopened\n"
