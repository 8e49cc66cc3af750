"""Who gets the socket."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lingos_kernel.errors import Busy, ConfigError
from lingos_kernel.server import claim as claim_module
from lingos_kernel.server.claim import Claim, claim, holder

WAIT_S = 20.0

CLAIM_AND_WAIT = """
import sys
from pathlib import Path
from lingos_kernel.errors import Busy
from lingos_kernel.server.claim import claim
try:
    claimed = claim(Path(sys.argv[1]))
except Busy:
    print("busy", flush=True)
else:
    print("claimed", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket's path in a folder that is not there yet."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        yield Path(folder) / "run" / "kernel.sock"


def other_process(path: Path) -> subprocess.Popen[str]:
    """Another process that claims the socket, and keeps it until its stdin ends."""
    return subprocess.Popen(
        [sys.executable, "-c", CLAIM_AND_WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def first_line(process: subprocess.Popen[str]) -> str:
    """What it said."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def mode(path: Path) -> int:
    """Permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_socket_is_private_and_listens(path: Path) -> None:
    """The folder is 0700, the socket 0600, whatever the umask; clients can connect at once."""
    before = os.umask(0)
    try:
        claimed = claim(path)
    finally:
        assert os.umask(before) == 0
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert holder(path) == os.getpid()
    claimed.release()
    claimed.release()
    assert not path.exists()
    assert holder(path) is None


def test_second_claim_is_refused(path: Path) -> None:
    """While one kernel has the socket, another is refused and told its pid."""
    claimed = claim(path)
    with pytest.raises(Busy, match=str(os.getpid())) as caught:
        claim(path)
    assert caught.value.details == {"pid": os.getpid()}
    claimed.release()
    claim(path).release()


def test_killed_kernel_leaves_nothing_that_matters(path: Path) -> None:
    """After kill -9 the old socket and lock file are there, and the next claim takes over."""
    with other_process(path) as killed:
        assert first_line(killed) == "claimed"
        assert holder(path) == killed.pid
        killed.send_signal(signal.SIGKILL)
        killed.wait(WAIT_S)
    assert path.exists()
    assert holder(path) is None
    claim(path).release()


def test_one_of_many_wins(path: Path) -> None:
    """Of processes that claim at the same time exactly one gets the socket."""
    racers = [other_process(path) for _ in range(4)]
    words = sorted(first_line(racer) for racer in racers)
    for racer in racers:
        racer.communicate()
    assert words == ["busy", "busy", "busy", "claimed"]


def test_claim_waits_for_a_kernel_that_leaves(path: Path) -> None:
    """A kernel that no longer listens, but has not ended, is waited for."""
    leaving = claim(path)
    leaving.listener.close()
    taken: list[Claim] = []
    thread = threading.Thread(target=lambda: taken.append(claim(path)))
    thread.start()
    assert not taken
    leaving.release()
    thread.join(WAIT_S)
    assert holder(path) == os.getpid()
    taken[0].release()


def test_no_kernel_was_ever_here(path: Path) -> None:
    """Looking makes nothing."""
    assert holder(path) is None
    assert not path.parent.exists()


def test_folder_of_another_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that somebody else could exchange is not used."""
    path.parent.mkdir()
    monkeypatch.setattr(claim_module.os, "getuid", lambda: 4_000_000)
    os.chown(path.parent, 4_000_001, -1) if os.geteuid() == 0 else None
    with pytest.raises(ConfigError, match="belongs to user"):
        claim(path)


def test_folder_of_root_is_not_a_users(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even root's folder will do for another user: who may write there is not known."""
    path.parent.mkdir()
    owner_uid = path.parent.stat().st_uid
    monkeypatch.setattr(claim_module.os, "getuid", lambda: owner_uid + 4_000_000)
    with pytest.raises(ConfigError, match=f"belongs to user {owner_uid}"):
        claim(path)


def test_folder_that_anybody_may_write_to(path: Path) -> None:
    """Somebody else could put a socket of their own there."""
    path.parent.mkdir()
    path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="anybody may write"):
        claim(path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        claim(tmp_path / "file" / "kernel.sock")


def test_path_that_is_too_long(tmp_path: Path) -> None:
    """The system's limit is told in words; `load_config` already avoids it."""
    with pytest.raises(ConfigError, match="cannot listen"):
        claim(tmp_path / ("x" * 120))
    assert holder(tmp_path / ("x" * 120)) is None
