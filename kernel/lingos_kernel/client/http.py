"""The client of a kernel in another process, over its Unix socket (or a URL)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import h11
import msgspec

from lingos_kernel import __version__
from lingos_kernel.client import wire
from lingos_kernel.client.connection import Connection, ConnectionPool
from lingos_kernel.client.protocol import CallOptions
from lingos_kernel.errors import KernelUnavailable, LingOSError, from_wire, to_wire
from lingos_kernel.syscalls.events import AnyEvent, Failure, Result, decode_event

if TYPE_CHECKING:
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.spec import SyscallInfo

T = TypeVar("T")
Headers = list[tuple[str, str]]
Doubt = Callable[[], Awaitable[None]]
"""Asked after a silence: raises when there is no hope."""

PING_S = 5.0


@dataclass(slots=True)
class _Lease:
    """The client's own process; it lives as long as its connection does."""

    request: dict[str, Any]
    pid: int
    connection: Connection


class _Link:
    """What a client and its views share: the connections, and the process that was opened."""

    def __init__(self, address: Path | str, silence_s: float) -> None:
        self.pool = ConnectionPool(address)
        self.silence_s = silence_s
        self.lease: _Lease | None = None
        self.leasing = asyncio.Lock()

    async def close(self) -> None:
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.connection.abort()
        self.pool.close()
        await asyncio.sleep(0)  # the transports close in the loop's next round


class HttpClient:
    """A `KernelClient` over HTTP. Connections are opened when needed, and again when lost."""

    def __init__(
        self,
        address: Path | str,
        *,
        options: CallOptions = CallOptions(),  # noqa: B008  # frozen
        silence_s: float = wire.SILENCE_S,
    ) -> None:
        """`address`: the path of the kernel's socket, or its URL."""
        self._link = _Link(address, silence_s)
        self._options = options

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the process that was opened ends."""
        await self._link.close()

    def with_options(
        self,
        *,
        caller: CallerKind | None = None,
        pid: int | None = None,
        priority: int | None = None,
        confirmed: bool | None = None,
        timeout_s: float | None = None,
    ) -> HttpClient:
        """A view of this client with other options; None leaves one as it is."""
        view = HttpClient.__new__(HttpClient)
        view._link = self._link
        view._options = self._options.changed(
            caller=caller, pid=pid, priority=priority, confirmed=confirmed, timeout_s=timeout_s
        )
        return view

    # Calls

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall; raises the `LingOSError` that it ended in."""
        body = wire.encode_arguments(name, arguments)
        headers = await self._headers(accept=wire.JSON)
        return await self._fetch(Any, "POST", _call_path(name), headers, body)

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of a syscall, the last one `Result` or `Failure`."""
        body = wire.encode_arguments(name, arguments)
        headers = await self._headers(accept=wire.EVENTS)
        end: AnyEvent | None = None
        async with self._exchange("POST", _call_path(name), headers, body) as connection:
            response = await self._patiently(connection.receive, _give_up)
            if response.status_code != 200:
                end = Failure(to_wire(await self._error(connection, response)))
            lines = wire.LineSplitter()
            while chunk := await self._patiently(connection.chunk, _give_up):
                for event in map(decode_event, lines.feed(chunk)):
                    if isinstance(event, Result | Failure):
                        end = event
                    else:
                        yield event
            if end is None:
                raise ConnectionResetError("the events broke off")
        yield end  # out here the connection is free again

    async def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use, sorted by name."""
        from lingos_kernel.syscalls.spec import SyscallInfo

        headers = await self._headers(accept=wire.JSON)
        infos: list[SyscallInfo] = await self._fetch(
            list[SyscallInfo], "GET", "/v1/syscalls", headers
        )
        return infos

    async def ping(self) -> dict[str, Any]:
        """Version, os_pid and started_s of the kernel, and a warning if versions differ."""
        try:
            async with asyncio.timeout(PING_S):
                answer = await self._fetch(dict[str, Any], "GET", "/v1/ping", [], doubt=_give_up)
        except TimeoutError as error:
            raise KernelUnavailable(
                f"the kernel on {self._link.pool.address} does not answer",
                hint="`lingos kernel stop` ends it",
                reason="silent",
            ) from error
        return {**answer, "warning": version_warning(answer["version"])}

    # The client's own process

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Open a process that the following calls belong to; it ends with this client."""
        request = {"command": command, "kind": kind, "priority": priority}
        async with self._link.leasing:
            return await self._renew_lease(request)

    async def _renew_lease(self, request: dict[str, Any]) -> int:
        previous, self._link.lease = self._link.lease, await self._take_lease(request)
        if previous is not None:
            previous.connection.abort()
        return self._link.lease.pid

    async def _take_lease(self, request: dict[str, Any]) -> _Lease:
        """A process that ends with the connection; the connection leaves the pool."""
        body = wire.encode_arguments("open_process", request)
        headers = [*self._caller_headers(), ("accept", wire.EVENTS), ("content-type", wire.JSON)]
        async with self._exchange("POST", "/v1/processes", headers, body) as connection:
            response = await self._patiently(connection.receive, _give_up)
            if response.status_code != 200:
                raise await self._error(connection, response)
            opened = msgspec.json.decode(await self._patiently(connection.chunk, _give_up))
            self._link.pool.detach(connection)
            return _Lease(request, int(opened["pid"]), connection)

    async def _pid(self) -> int | None:
        """The process of the next call; opened anew when the kernel has been restarted."""
        if self._options.pid is not None or self._link.lease is None:
            return self._options.pid
        async with self._link.leasing:
            lease = self._link.lease
            return (
                lease.pid if lease.connection.is_quiet else await self._renew_lease(lease.request)
            )

    # Exchanges

    def _caller_headers(self) -> Headers:
        return [(wire.CALLER, self._options.caller)]

    async def _headers(self, *, accept: str) -> Headers:
        headers = [*self._caller_headers(), ("accept", accept), ("content-type", wire.JSON)]
        if (pid := await self._pid()) is not None:
            headers.append((wire.PID, str(pid)))
        if self._options.priority is not None:
            headers.append((wire.PRIORITY, str(self._options.priority)))
        if self._options.confirmed:
            headers.append((wire.CONFIRMED, "yes"))
        if self._options.timeout_s is not None:
            headers.append((wire.TIMEOUT, repr(self._options.timeout_s)))
        return headers

    async def _fetch(
        self,
        kind: Any,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        *,
        doubt: Doubt | None = None,
    ) -> Any:
        """The answer's JSON, as a `kind`; raises the error that it carries."""
        doubt = doubt or self._check_alive
        async with self._exchange(method, target, headers, body) as connection:
            response = await self._patiently(connection.receive, doubt)
            if response.status_code != 200:
                raise await self._error(connection, response)
            return msgspec.json.decode(await self._rest(connection, doubt), type=kind)

    async def _rest(self, connection: Connection, doubt: Doubt) -> bytes:
        """The whole body of an answer."""
        chunks = []
        while chunk := await self._patiently(connection.chunk, doubt):
            chunks.append(chunk)
        return b"".join(chunks)

    @asynccontextmanager
    async def _exchange(
        self, method: str, target: str, headers: Headers, body: bytes
    ) -> AsyncIterator[Connection]:
        """Send a request; leaving before the answer is read to its end cancels the call."""
        connection = await self._link.pool.acquire()
        try:
            await connection.send(method, target, headers, body)
            yield connection
        except (ConnectionError, h11.RemoteProtocolError) as error:
            raise KernelUnavailable(
                f"the kernel on {self._link.pool.address} went away in the middle of {target}",
                hint="it may or may not have run; `lingos kernel status` and the log say more",
                reason="gone",
            ) from error
        except msgspec.MsgspecError as error:
            raise LingOSError(
                f"the answer to {target} cannot be read: {error}",
                hint="is the kernel of another version? `lingos kernel stop` ends it",
            ) from error
        finally:
            self._link.pool.release(connection)

    async def _patiently(self, receive: Callable[[], Awaitable[T]], doubt: Doubt) -> T:
        """Wait for something; ask `doubt`, which may raise, after each silence."""
        while True:
            try:
                async with asyncio.timeout(self._link.silence_s):
                    return await receive()
            except TimeoutError:
                await doubt()

    async def _check_alive(self) -> None:
        """A call without events may be silent for long; the kernel may not."""
        await self.ping()

    async def _error(self, connection: Connection, response: h11.Response) -> LingOSError:
        body = await self._rest(connection, _give_up)
        try:
            return from_wire(msgspec.json.decode(body, type=dict[str, Any]))
        except msgspec.MsgspecError:
            return LingOSError(
                f"the kernel answered {response.status_code}: {body[:200].decode(errors='replace')}"
            )


def version_warning(kernel_version: str) -> str:
    """What to say when client and kernel are of different versions; empty when they are not."""
    if kernel_version == __version__:
        return ""
    return (
        f"the kernel is LingOS {kernel_version}, this client {__version__};"
        " restart it: `lingos kernel stop && lingos kernel start`"
    )


def _call_path(name: str) -> str:
    return "/v1/call/" + quote(name, safe="")


async def _give_up() -> None:
    raise ConnectionResetError("no heartbeat came")
