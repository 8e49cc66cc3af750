"""uvicorn's HTTP protocol, which also learns who is at the other end of the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lingos_kernel.client.peer import peer_uid

if TYPE_CHECKING:
    from lingos_kernel.server.presence import Presence

KEEP_ALIVE_S = 3600
"""Clients, not the kernel, end idle connections: so none is closed under a request."""
LAST_WORDS_S = 2
"""How long stopping waits for answers that are being written."""


def http_protocol(presence: Presence) -> type[H11Protocol]:
    """The protocol class of one server; each request finds `peer_uid` in its state."""

    class PeerProtocol(H11Protocol):
        """HTTP/1.1 on one connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            """Ask the operating system who connected, once per connection."""
            uid = peer_uid(transport.get_extra_info("socket"))
            self.app_state = {**self.app_state, "peer_uid": uid}
            presence.connected()
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            """Note that the client left."""
            presence.disconnected()
            super().connection_lost(exc)

    return PeerProtocol


class Server(uvicorn.Server):
    """A uvicorn server whose signals are handled by the daemon."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def stop_listening(self) -> None:
        """Take no new connection; the others go on."""
        for listening in getattr(self, "servers", ()):  # there are none before its first step
            listening.close()


def make_server(app: Any, presence: Presence) -> Server:
    """A server for `app`; run it with `serve(sockets=[...])`, end it by `should_exit`."""
    return Server(
        uvicorn.Config(
            app,
            http=http_protocol(presence),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=LAST_WORDS_S,
        )
    )
