"""The right to be the kernel behind a socket: exactly one process holds it.

Beside the socket lies a lock file, held for the kernel's life and let go by the operating system
when the process dies, however it dies. Lock and socket are taken under a lock on their folder,
held for an instant: who finds the lock taken, finds the socket listening.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lingos_kernel.errors import Busy, ConfigError

log = logging.getLogger(__name__)

BACKLOG = 2048


@dataclass(slots=True)
class Claim:
    """A listening socket and the lock that makes it this process's own."""

    path: Path
    listener: socket.socket
    lock: TextIO

    def release(self) -> None:
        """Remove the socket, then let go of the lock; safe to call twice."""
        if not self.lock.closed:
            self.listener.close()
            self.path.unlink(missing_ok=True)
            self.lock.close()


def claim(path: Path) -> Claim:
    """Take over the socket at `path`, cleaning up after a kernel that was killed.

    Waits for one that is about to leave: it no longer listens, but still holds the lock. Raises
    `Busy` when a kernel runs, `ConfigError` when the folder is not the user's.
    """
    make_private(path.parent)
    lock = lock_path(path).open("a+", encoding="ascii")
    try:
        while not (listener := _try_claim(path, lock)):
            log.info("waiting for the kernel before to leave, pid %s", _read_pid(lock))
            fcntl.flock(lock, fcntl.LOCK_SH)  # granted when it is gone
            fcntl.flock(lock, fcntl.LOCK_UN)
    except BaseException:
        lock.close()
        raise
    return Claim(path, listener, lock)


def _try_claim(path: Path, lock: TextIO) -> socket.socket | None:
    """The listening socket; None when the holder of the lock is leaving. Raises `Busy`."""
    with _folder_locked(path.parent):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not _listens(path):
                return None
            pid = _read_pid(lock)
            raise Busy(
                f"a kernel runs already on {path}, pid {pid}",
                hint="`lingos kernel stop` ends it",
                pid=pid,
            ) from None
        listener = _listen(path)
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return listener


def holder(path: Path) -> int | None:
    """The process that is the kernel behind the socket; None when none is."""
    try:
        with _folder_locked(path.parent), lock_path(path).open("r", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_pid(lock)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def _read_pid(lock: TextIO) -> int:
    lock.seek(0)
    return int(lock.read())


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def lock_path(path: Path) -> Path:
    """The lock file of a socket."""
    return path.with_name(path.name + ".lock")


def make_private(folder: Path) -> None:
    """Make the socket's folder, for its user alone; raises `ConfigError` if it is another's."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError as error:
        raise ConfigError(
            f"the socket's folder {folder} cannot be made: {error.strerror}",
            hint="set kernel.socket to a path in a folder of your own",
        ) from error
    if found.st_uid != os.getuid():
        raise ConfigError(
            f"the socket's folder {folder} belongs to user {found.st_uid}",
            hint="set kernel.socket to a path in a folder of your own",
        )
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"anybody may write to the socket's folder {folder}",
            hint=f"chmod o-w {folder}, or set kernel.socket to a path in another folder",
        )


@contextlib.contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _listen(path: Path) -> socket.socket:
    """A socket that only its owner can connect to, from its first moment on."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot listen on {path}: {error.strerror or error}",
            hint="set kernel.socket to a path in a folder of your own",
        ) from error
    finally:
        os.umask(before)
    return listener
