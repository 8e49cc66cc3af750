"""HTTP/1.1 connections to the kernel: h11 knows the protocol, asyncio moves the bytes.

Not httpx, by measurement: importing it costs a third of the time that a warm command takes.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import h11

from lingos_kernel.client.peer import peer_uid
from lingos_kernel.errors import ConfigError, KernelUnavailable

READ_BYTES = 1 << 18
CONNECT_S = 10.0
MAX_IDLE = 8
"""Idle connections that are kept for the next calls."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connection:
    """One connection; carries one exchange at a time.

    Raises `ConnectionError` and `h11.RemoteProtocolError` when the other side goes away.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        """Send a whole request."""
        headers = [("host", "lingos"), ("content-length", str(len(body))), *headers]
        parts = [
            self._protocol.send(h11.Request(method=method, target=target, headers=headers)),
            self._protocol.send(h11.Data(data=body)) if body else b"",
            self._protocol.send(h11.EndOfMessage()),
        ]
        self._writer.write(b"".join(part for part in parts if part))
        await self._writer.drain()

    async def receive(self) -> h11.Response:
        """The head of the answer; may be tried again after its task was cancelled."""
        while not isinstance(event := await self._next_event(), h11.Response):
            if isinstance(event, h11.ConnectionClosed):
                raise ConnectionResetError("closed before it answered")
        return event

    async def chunk(self) -> bytes:
        """The next piece of the answer's body, empty at its end; may be tried again, too."""
        if self._protocol.their_state is not h11.SEND_BODY:
            return b""
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            self._protocol.receive_data(await self._reader.read(READ_BYTES))
        return event  # type: ignore[return-value]  # NEED_DATA is excluded by the loop

    @property
    def is_quiet(self) -> bool:
        """Whether it is open and nothing came in: an end that is still unread counts."""
        if self._writer.is_closing() or self._reader.at_eof():
            return False
        poller = select.poll()
        poller.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not poller.poll(0)

    def make_ready(self) -> bool:
        """Whether another exchange may follow: the last one is complete on both sides."""
        both_done = self._protocol.our_state is self._protocol.their_state is h11.DONE
        if both_done:
            self._protocol.start_next_cycle()
        return both_done

    def abort(self) -> None:
        """Close at once; what the kernel does for this exchange is cancelled."""
        self._writer.transport.abort()


class ConnectionPool:
    """Opens connections to one address and keeps the idle ones for the next exchange."""

    def __init__(self, address: Path | str) -> None:
        """`address`: the path of a Unix socket, or a URL (`http://host:port`)."""
        self.address = address
        self._open = _opener(address)
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()

    async def acquire(self) -> Connection:
        """A connection that is open; raises `KernelUnavailable`."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_quiet:
                break
            connection.abort()
        else:
            connection = Connection(*await self._connect())
        self._in_use.add(connection)
        return connection

    def detach(self, connection: Connection) -> None:
        """Leave the connection to the caller, who aborts it some day."""
        self._in_use.discard(connection)

    def release(self, connection: Connection) -> None:
        """Keep the connection when its exchange is complete, close it otherwise."""
        if connection not in self._in_use:
            return
        self._in_use.discard(connection)
        if len(self._idle) < MAX_IDLE and connection.make_ready():
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Close every connection; exchanges that go on fail."""
        for connection in (*self._idle, *self._in_use):
            connection.abort()
        self._idle.clear()

    async def _connect(self) -> Streams:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._open()
        except TimeoutError as error:
            raise KernelUnavailable(
                f"the kernel on {self.address} took no connection within {CONNECT_S:.0f} s",
                hint="`lingos kernel status` says more; `lingos kernel stop` ends it",
                reason="silent",
            ) from error
        except PermissionError as error:
            raise self._foreign() from error
        except OSError as error:
            raise KernelUnavailable(
                f"no kernel answers on {self.address}",
                hint="start one with `lingos kernel start`",
                reason="absent",
            ) from error
        if peer_uid(writer.get_extra_info("socket")) not in (None, os.getuid()):
            writer.transport.abort()
            raise self._foreign()
        return reader, writer

    def _foreign(self) -> KernelUnavailable:
        return KernelUnavailable(
            f"{self.address} belongs to another user",
            hint="set kernel.socket to one of your own",
            reason="refused",
        )


def _opener(address: Path | str) -> Callable[[], Awaitable[Streams]]:
    if isinstance(address, Path):
        path = str(address)
        return lambda: asyncio.open_unix_connection(path, limit=READ_BYTES)
    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigError(
            f"{address!r} is no address of a kernel", hint="use http://HOST:PORT or a socket's path"
        )
    tls = url.scheme == "https"
    host, port = url.hostname, url.port or (443 if tls else 80)
    return lambda: asyncio.open_connection(host, port, limit=READ_BYTES, ssl=tls or None)
