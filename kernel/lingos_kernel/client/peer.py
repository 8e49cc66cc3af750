"""Users, by the word of the operating system: who is at the other end of a Unix socket."""

from __future__ import annotations

import pwd
import socket
import struct
import sys
from typing import Protocol

_LINUX_UCRED = struct.Struct("3i")
"""pid, uid, gid"""
_XUCRED = struct.Struct("IIh16I")
"""macOS: version, uid, number of groups, groups"""
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class HasOptions(Protocol):
    """A socket, or what asyncio shows of one."""

    @property
    def family(self) -> int:
        """The address family."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """The value of an option."""


def peer_uid(connection: HasOptions) -> int | None:
    """The user id of the process at the other end; None if it is no local socket.

    Taken when the connection was made: it cannot be forged, nor changed afterwards.
    """
    if connection.family != socket.AF_UNIX:
        return None
    if sys.platform == "darwin":
        value = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED.size)
        return int(_XUCRED.unpack(value)[1])
    value = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _LINUX_UCRED.size)
    return int(_LINUX_UCRED.unpack(value)[1])


def user_name(uid: int) -> str:
    """The login name of a user id, or the id as text where it has none (containers)."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
