"""Who is at the other end."""

from __future__ import annotations

import os
import socket

from lingos_kernel.client.peer import peer_uid, user_name


def test_peer_of_a_local_socket() -> None:
    """The operating system names the user at the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


def test_no_peer_over_the_network() -> None:
    """A network connection has no user."""
    with socket.socket(socket.AF_INET) as network:
        assert peer_uid(network) is None


def test_user_without_a_name() -> None:
    """A user id that no account has is its own name, as in many containers."""
    assert user_name(4_000_123) == "4000123"
    assert user_name(0) == "root"
