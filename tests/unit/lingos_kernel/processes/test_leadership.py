"""Who leads among kernels that share a folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lingos_kernel.errors import LingOSError
from lingos_kernel.processes.leadership import Leadership

HOLD = """
import sys
from pathlib import Path
from lingos_kernel.processes.leadership import Leadership
print(Leadership(Path(sys.argv[1])).try_take(), flush=True)
sys.stdin.read()
"""


async def test_one_kernel_leads(tmp_path: Path) -> None:
    """The lock has one holder; the next one gets it when it is released."""
    path = tmp_path / "a" / "lock"
    first, second = Leadership(path), Leadership(path)
    assert first.try_take()
    assert first.try_take()
    assert not second.try_take()
    second.release()
    first.release()
    assert not first.is_held
    await second.take()
    assert second.is_held
    second.release()


async def test_a_killed_kernel_leads_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system frees the lock of a process that was killed."""
    monkeypatch.setattr("lingos_kernel.processes.leadership.LOOK_AGAIN_S", 0.01)
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        mine = Leadership(path)
        assert not mine.try_take()
        holder.kill()
        await mine.take()
        mine.release()


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The error names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LingOSError, match="cannot be made"):
        Leadership(tmp_path / "file" / "lock").try_take()
