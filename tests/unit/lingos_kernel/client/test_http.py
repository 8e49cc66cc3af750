"""What may happen to a client's connection: restarts, deaths, silence, strangers."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from lingos_kernel import syscall
from lingos_kernel.client import connection
from lingos_kernel.client.http import HttpClient, version_warning
from lingos_kernel.config import load_config
from lingos_kernel.errors import ConfigError, KernelUnavailable, LingOSError
from lingos_kernel.kernel import Kernel
from lingos_kernel.server.app import NativeApi
from lingos_kernel.server.claim import claim
from lingos_kernel.server.serving import StopRequest, serve, started
from lingos_kernel.syscalls.events import Accepted
from lingos_kernel.testing import ScriptedEngine

WAIT_S = 20.0
Serve = Callable[[Kernel], AbstractAsyncContextManager[Path]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
def new_kernel(tmp_path: Path) -> Callable[[], Kernel]:
    """Makes kernels with two syscalls: one hangs, one tells its pid."""

    def make() -> Kernel:
        config = load_config(environ={"LINGOS_HOME": str(tmp_path), "LINGOS_LOAD_PLUGINS": ""})
        kernel = Kernel(config, engine=ScriptedEngine())

        @syscall("stage.hang")
        async def hang() -> AsyncGenerator[int, None]:
            """Yield once, then wait for ever."""
            yield 1
            await asyncio.Event().wait()

        kernel.table.register(hang, "stage")
        return kernel

    return make


@pytest.fixture
def socket_path() -> Any:
    """A short path for a socket."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        yield Path(folder) / "kernel.sock"


@asynccontextmanager
async def serving(kernel: Kernel, path: Path) -> AsyncIterator[None]:
    """A kernel on a given socket."""
    claimed = claim(path)
    up, stop = asyncio.Event(), StopRequest()
    task = asyncio.create_task(
        serve(partial(started, kernel), claimed.listener, stop, ready=up.set, drain_s=0.0)
    )
    await asyncio.wait_for(up.wait(), WAIT_S)
    try:
        yield
    finally:
        stop.ask("over")
        await task
        claimed.release()


@asynccontextmanager
async def pretending(path: Path, talk: Talk) -> AsyncIterator[None]:
    """Something else than a kernel, listening on the socket."""
    tasks: list[asyncio.Task[None]] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await talk(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(meet, path)
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TestReconnecting:
    """The next call works whenever a kernel is there."""

    async def test_next_call_finds_the_restarted_kernel(
        self, new_kernel: Callable[[], Kernel], socket_path: Path
    ) -> None:
        """A client outlives its kernel, and goes on with the next one."""
        async with HttpClient(socket_path) as client:
            async with serving(new_kernel(), socket_path):
                first = await client.ping()
            with pytest.raises(KernelUnavailable) as caught:
                await client.ping()
            assert caught.value.details["reason"] == "absent"
            async with serving(new_kernel(), socket_path):
                assert (await client.ping())["started_s"] > first["started_s"]

    async def test_process_is_opened_anew(
        self, new_kernel: Callable[[], Kernel], socket_path: Path
    ) -> None:
        """After a restart the client's calls belong to a like process of the new kernel."""
        async with HttpClient(socket_path) as client:
            async with serving(new_kernel(), socket_path):
                await client.open_process("mine", kind="agent", priority=3)
            kernel = new_kernel()
            async with serving(kernel, socket_path):
                await asyncio.gather(*(client.call("sys.help") for _ in range(5)))
                mine = [p for p in kernel.processes.processes() if p.command == "mine"]
                assert [(p.kind, p.priority) for p in mine] == [("agent", 3)]

    async def test_connections_are_reused(
        self, scripted_kernel: Kernel, serve_kernel: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Calls one after the other share a connection, the failing ones, too."""
        opened = 0
        really_connect = connection.ConnectionPool._connect

        async def count(pool: connection.ConnectionPool) -> Any:
            nonlocal opened
            opened += 1
            return await really_connect(pool)

        monkeypatch.setattr(connection.ConnectionPool, "_connect", count)
        async with serve_kernel(scripted_kernel) as path, HttpClient(path) as client:
            for _ in range(5):
                await client.ping()
                assert [event async for event in client.stream("sys.help")]
                with pytest.raises(LingOSError):
                    await client.call("no.such")
        assert opened == 1


class TestTrouble:
    """Whatever the other side does, the caller gets one clear error, in time."""

    async def test_nobody_listens(self, socket_path: Path) -> None:
        """Without a kernel the error says how to start one."""
        async with HttpClient(socket_path) as client:
            with pytest.raises(KernelUnavailable, match="lingos kernel start"):
                await client.call("sys.help")

    async def test_kernel_stops_during_a_stream(
        self, new_kernel: Callable[[], Kernel], socket_path: Path
    ) -> None:
        """A kernel that stops tells the call's end; nobody waits for ever."""
        async with HttpClient(socket_path) as client:
            async with serving(new_kernel(), socket_path):
                events = client.stream("stage.hang")
                assert isinstance(await anext(events), Accepted)
            rest = [event async for event in events]
            assert rest[-1].error["code"] == "cancelled"

    async def test_kernel_dies_during_a_stream(self, socket_path: Path) -> None:
        """A stream that breaks off raises, and says that the outcome is unknown."""

        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            event = b'{"event":"accepted","call_id":"1","pid":2}\n'
            head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            writer.write(head + b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            writer.transport.abort()

        async with pretending(socket_path, die), HttpClient(socket_path) as client:
            events = client.stream("x.y")
            assert await anext(events) == Accepted("1", 2)
            with pytest.raises(KernelUnavailable, match="went away") as caught:
                await anext(events)
            assert caught.value.hint

    async def test_stream_without_an_end_is_no_success(self, socket_path: Path) -> None:
        """A stream that closes in order, but without result or failure, raises, too."""

        async def forget(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
            await writer.drain()

        async with pretending(socket_path, forget), HttpClient(socket_path) as client:
            with pytest.raises(KernelUnavailable):
                [event async for event in client.stream("x.y")]

    async def test_kernel_dies_before_it_answers(self, socket_path: Path) -> None:
        """A call whose connection is closed without an answer raises."""

        async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")

        async with pretending(socket_path, hang_up), HttpClient(socket_path) as client:
            with pytest.raises(KernelUnavailable, match="went away"):
                await client.call("x.y")

    @pytest.mark.parametrize(
        "act",
        [
            lambda client: client.call("x.y"),
            lambda client: anext(client.stream("x.y")),
            lambda client: client.ping(),
            lambda client: client.open_process("x"),
        ],
        ids=["call", "stream", "ping", "open_process"],
    )
    async def test_silent_kernel_is_noticed(
        self, socket_path: Path, act: Callable[[HttpClient], Awaitable[Any]]
    ) -> None:
        """A kernel that takes the call and then says nothing at all is given up."""

        async def ignore(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while await reader.read(1000):
                pass

        async with (
            pretending(socket_path, ignore),
            HttpClient(socket_path, silence_s=0.05) as client,
        ):
            with pytest.raises(KernelUnavailable):
                await act(client)

    async def test_long_call_of_a_living_kernel_goes_on(
        self, scripted_kernel: Kernel, serve_kernel: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A call may take far longer than the silence after which the client looks again."""
        pings = 0
        really_ping = NativeApi.ping
        go_on = asyncio.Event()

        async def count(api: NativeApi, request: Request) -> Response:
            nonlocal pings
            pings += 1
            if pings == 3:
                go_on.set()
            return await really_ping(api, request)

        @syscall("stage.slow")
        async def slow() -> str:
            """Take three silences."""
            await go_on.wait()
            return "done"

        monkeypatch.setattr(NativeApi, "ping", count)
        scripted_kernel.table.register(slow, "stage")
        async with (
            serve_kernel(scripted_kernel) as path,
            HttpClient(path, silence_s=0.1) as client,
        ):
            assert await asyncio.wait_for(client.call("stage.slow"), WAIT_S) == "done"

    @pytest.mark.parametrize(
        "answer",
        [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{x}"],
        ids=["no HTTP", "no JSON"],
    )
    async def test_garbage_is_no_result(self, socket_path: Path, answer: bytes) -> None:
        """What cannot be read is an error, whatever it is."""

        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

        async with pretending(socket_path, babble), HttpClient(socket_path) as client:
            with pytest.raises(LingOSError):
                await client.call("x.y")

    async def test_error_page_of_somebody_else(self, socket_path: Path) -> None:
        """An answer that is an error but no LingOS error is told with its status."""

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops")
            await writer.drain()

        async with pretending(socket_path, refuse), HttpClient(socket_path) as client:
            with pytest.raises(LingOSError, match="502: oops"):
                await client.call("x.y")

    async def test_socket_of_another_user_is_refused(
        self, kernel_socket: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No prompt is sent to a kernel that somebody else runs."""
        monkeypatch.setattr(connection, "peer_uid", lambda _: os.getuid() + 1)
        async with HttpClient(kernel_socket) as client:
            with pytest.raises(KernelUnavailable, match="another user"):
                await client.ping()


class TestAddresses:
    """Paths and URLs."""

    @pytest.mark.parametrize("address", ["kernel.sock", "ftp://x", "http://", "unix:///x"])
    def test_strange_urls(self, address: str) -> None:
        """A text must be the URL of a kernel."""
        with pytest.raises(ConfigError, match="no address"):
            HttpClient(address)

    async def test_url(self, socket_path: Path) -> None:
        """A client can reach a port, too; what it needs to be let in is the port's business."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = b'{"version":"9"}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with HttpClient(f"http://127.0.0.1:{port}") as client:
            found = await client.ping()
        server.close()
        await server.wait_closed()
        assert found["version"] == "9"
        assert "9" in found["warning"]
        assert "restart" in found["warning"]

    def test_same_version_is_no_warning(self) -> None:
        """Only a difference is worth a warning."""
        from lingos_kernel import __version__

        assert version_warning(__version__) == ""
