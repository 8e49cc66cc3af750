"""The blocking façade."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lingos_kernel
from lingos_kernel import syscall
from lingos_kernel.client.local import LocalClient
from lingos_kernel.client.sync import SyncClient
from lingos_kernel.errors import KernelUnavailable, UnknownSyscall
from lingos_kernel.kernel import Kernel
from lingos_kernel.syscalls.events import Item, Result

WAIT_S = 20.0


class Hanging:
    """A syscall that hangs, and tells so to the test's thread."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.when_begun: Callable[[], None] = lambda: None

    def make(self) -> Any:
        """The syscall."""

        @syscall("stage.hang")
        async def hang(items: int = 0) -> AsyncGenerator[int, None]:
            """Yield some numbers, then wait for ever."""
            try:
                for number in range(items):
                    yield number
                self.began.set()
                self.when_begun()
                await asyncio.Event().wait()
            finally:
                self.ended.set()

        return hang


@pytest.fixture
def hanging() -> Hanging:
    """The syscall that hangs."""
    return Hanging()


@pytest.fixture
def client(scripted_kernel: Kernel, hanging: Hanging) -> Iterator[SyncClient]:
    """A blocking client of an embedded kernel, which lives in the client's own loop."""
    scripted_kernel.table.register(hanging.make(), "stage")

    async def connect() -> LocalClient:
        await scripted_kernel.start()
        return LocalClient(scripted_kernel, owns_kernel=True)

    with SyncClient(connect) as client:
        yield client


def test_call_and_errors(client: SyncClient) -> None:
    """Results are returned and errors raised in the caller's own thread."""
    assert client.ping()["version"] == lingos_kernel.__version__
    with pytest.raises(UnknownSyscall):
        client.call("no.such")


def test_attributes_name_syscalls(client: SyncClient) -> None:
    """`client.sys.room.verb(...)` is a call, and completion knows the names."""
    assert client.sys.sys.help() == client.call("sys.help")
    assert {"sys", "stage", "llm"} <= set(dir(client.sys))
    assert dir(client.sys.stage) == ["hang"]
    assert repr(client.sys.stage.hang) == "<syscalls stage.hang>"
    assert not hasattr(client.sys, "_repr_html_")


def test_stream(client: SyncClient, hanging: Hanging) -> None:
    """Events come as they happen; leaving the loop early cancels the call."""
    seen = []
    for event in client.stream("stage.hang", items=3):
        seen.append(event)
        if event == Item(2):
            break
    assert hanging.ended.wait(WAIT_S)
    assert seen[1:] == [Item(0), Item(1), Item(2)]
    assert isinstance(list(client.stream("sys.help"))[-1], Result)


def test_ctrl_c_cancels_the_call(client: SyncClient, hanging: Hanging) -> None:
    """SIGINT during a call ends it in the kernel, then raises `KeyboardInterrupt`."""
    main = threading.main_thread().ident
    assert main is not None
    hanging.when_begun = lambda: signal.pthread_kill(main, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        client.call("stage.hang")
    assert hanging.ended.wait(WAIT_S)
    assert client.ping()


def test_options_and_process(client: SyncClient) -> None:
    """Views share the process that the original opened."""
    pid = client.open_process("the test")
    view = client.with_options(priority=3)
    assert pid in [process["pid"] for process in view.call("proc.list")]
    assert [info.name for info in view.syscalls()] == [info.name for info in client.syscalls()]


def test_closed_client(scripted_kernel: Kernel) -> None:
    """Closing twice is fine; calling after it is an error, not a hang."""

    async def connect() -> LocalClient:
        await scripted_kernel.start()
        return LocalClient(scripted_kernel, owns_kernel=True)

    client = SyncClient(connect)
    client.close()
    client.close()
    with pytest.raises(KernelUnavailable, match="closed"):
        client.ping()


def test_many_threads_share_a_client(client: SyncClient) -> None:
    """Calls of several threads do not wait for each other's results."""
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(client.ping()["os_pid"])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(results) == 8


def test_connect_raises_without_a_kernel(tmp_path: Path) -> None:
    """`lingos_kernel.connect(start=False)` says that there is none, and leaves no thread."""
    from lingos_kernel.config import load_config

    config = load_config(environ={"LINGOS_HOME": str(tmp_path)})
    before = threading.active_count()
    with pytest.raises(KernelUnavailable):
        lingos_kernel.connect(config, start=False)
    assert threading.active_count() == before
