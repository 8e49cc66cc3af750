"""The resident kernel as a process: its starts, its ends, and the clients that vanish."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lingos_kernel
from lingos_kernel.client import http
from lingos_kernel.client.connect import connect
from lingos_kernel.client.http import HttpClient
from lingos_kernel.config import Config, load_config
from lingos_kernel.errors import Busy, KernelUnavailable
from lingos_kernel.server import daemon

pytestmark = pytest.mark.slow

WAIT_S = 60.0

START = """
import json, sys
from lingos_kernel.client.launch import decode_config
from lingos_kernel.server import daemon
print(json.dumps(daemon.start(decode_config(sys.stdin.buffer.read())).os_pid))
"""

HANG = """
import asyncio, sys
from pathlib import Path
from lingos_kernel.client.http import HttpClient

async def main():
    async with HttpClient(Path(sys.argv[1])) as client:
        print(await client.open_process("the vanishing client"), flush=True)
        async for event in client.stream("mq.recv"):
            print("accepted", flush=True)

asyncio.run(main())
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder of its own, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        yield Path(folder)


@pytest.fixture
def make_config(home: Path) -> Iterator[Callable[..., Config]]:
    """Makes settings of a kernel in that home; whatever kernel runs there is stopped at the end."""

    def make(**overrides: Any) -> Config:
        settings = {key.replace("__", "."): value for key, value in overrides.items()}
        return load_config(environ={"LINGOS_HOME": str(home)}, overrides=settings)

    yield make
    daemon.stop(make())


@pytest.fixture
def config(make_config: Callable[..., Config]) -> Config:
    """The settings of a kernel without plugins from outside."""
    return make_config(plugins__load=())


async def until(condition: Callable[[], Any]) -> None:
    """Wait until an asynchronous condition holds; each look is a round trip to the kernel."""
    async with asyncio.timeout(WAIT_S):
        while not await condition():
            pass


async def commands(client: HttpClient) -> list[str]:
    """The commands of all processes."""
    return [process["command"] for process in await client.call("proc.list")]


def test_start_status_stop(config: Config) -> None:
    """A kernel is started once, tells who it is, and leaves nothing when it is stopped."""
    assert daemon.status(config).state == "stopped"
    assert not daemon.stop(config)
    started = daemon.start(config)
    assert started.state == "running"
    assert started.version == lingos_kernel.__version__
    assert started.warning == ""
    assert started.started_s == pytest.approx(time.time(), abs=WAIT_S)
    assert daemon.start(config) == started
    assert daemon.status(config) == started
    assert daemon.stop(config)
    assert daemon.status(config).state == "stopped"
    assert not daemon.stop(config)
    assert not config.kernel.socket.exists()


def test_socket_is_the_owners_alone(config: Config) -> None:
    """The socket has mode 0600, in a folder of mode 0700; so has the log's folder."""
    daemon.start(config)
    socket = config.kernel.socket
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(config.paths.state_dir.stat().st_mode) == 0o700


def test_simultaneous_starts_give_one_kernel(config: Config) -> None:
    """Whoever starts at the same time gets the same kernel."""
    from lingos_kernel.client.launch import encode_config

    racers = [
        subprocess.Popen(
            [sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(encode_config(config))
        racer.stdin.close()
        racer.stdin = None
    answers = {json.loads(racer.communicate(timeout=WAIT_S)[0]) for racer in racers}
    assert answers == {daemon.status(config).os_pid}


async def test_kill_9_and_start_again(config: Config) -> None:
    """After kill -9 the kernel counts as stopped, a client says so, and the next start works."""
    first = await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        await client.open_process("survivor")
        assert first.os_pid is not None
        os.kill(first.os_pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            assert await asyncio.to_thread(daemon.has_ended, first.os_pid, WAIT_S)
        status = await asyncio.to_thread(daemon.status, config)
        assert status.state == "stopped"
        with pytest.raises(KernelUnavailable):
            await client.call("sys.help")
        second = await asyncio.to_thread(daemon.start, config)
        assert second.os_pid != first.os_pid
        assert "survivor" in await commands(client)


async def test_kill_9_in_the_middle_of_a_stream(config: Config) -> None:
    """Who reads a stream when the kernel dies learns it at once."""
    started = await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        await client.open_process("reader")
        events = client.stream("mq.recv")
        await anext(events)
        assert started.os_pid is not None
        os.kill(started.os_pid, signal.SIGKILL)
        with pytest.raises(KernelUnavailable, match="went away") as caught:
            await asyncio.wait_for(anext(events), WAIT_S)
        assert caught.value.hint


async def test_client_that_vanishes_frees_its_call(config: Config) -> None:
    """A client that is killed with kill -9 leaves neither its call nor its process behind."""
    await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        hanging = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HANG, str(config.kernel.socket), stdout=subprocess.PIPE
        )
        assert hanging.stdout is not None
        pid = int(await hanging.stdout.readline())
        assert await hanging.stdout.readline() == b"accepted\n"

        async def calls() -> list[Any]:
            snapshot = await client.call("sys.snapshot")
            return [call for call in snapshot["calls"] if call["pid"] == pid]

        assert [call["syscall"] for call in await calls()] == ["mq.recv"]
        hanging.kill()
        await hanging.wait()

        async def is_free() -> bool:
            return not await calls() and "the vanishing client" not in await commands(client)

        await until(is_free)


async def test_connect_starts_a_kernel(config: Config) -> None:
    """`connect` attaches to the kernel, and starts it if there is none, unless told not to."""
    with pytest.raises(KernelUnavailable, match="no kernel answers"):
        await connect(config, start=False)
    async with await connect(config) as client:
        pid = (await client.ping())["os_pid"]
    async with await connect(config, start=False) as client:
        assert (await client.ping())["os_pid"] == pid != os.getpid()


def test_public_connect(config: Config) -> None:
    """`lingos_kernel.connect()` is the same without await."""
    with lingos_kernel.connect(config) as client:
        assert client.sys.proc.list()
        assert client.ping()["os_pid"] == daemon.status(config).os_pid


def test_local_kernel_touches_no_socket(config: Config) -> None:
    """`local=True` embeds a kernel, which ends with its client."""
    with lingos_kernel.connect(config, local=True) as client:
        assert client.ping()["os_pid"] == os.getpid()
        assert client.sys.proc.list()
    assert not config.kernel.socket.exists()


def test_idle_kernel_leaves(make_config: Callable[..., Config]) -> None:
    """With kernel.idle_exit_s set, a kernel that nobody uses ends."""
    config = make_config(plugins__load=(), kernel__idle_exit_s=1.0)
    started = daemon.start(config)
    assert started.os_pid is not None
    with contextlib.suppress(ProcessLookupError):
        assert daemon.has_ended(started.os_pid, WAIT_S)
    assert daemon.status(config).state == "stopped"


def test_failing_start_shows_the_log(make_config: Callable[..., Config], home: Path) -> None:
    """A kernel that cannot start says why, in the error of the one who started it."""
    (home / "file").write_text("in the way")
    config = make_config(kernel__socket=home / "file" / "kernel.sock")
    with pytest.raises(KernelUnavailable, match="cannot be made") as caught:
        daemon.start(config)
    assert "kernel.log" in caught.value.hint


def test_log_is_opened_anew(config: Config) -> None:
    """SIGHUP makes a background kernel go on in a new file, after somebody moved the log."""
    started = daemon.start(config)
    moved = started.log.with_name("moved.log")
    started.log.rename(moved)
    assert started.os_pid is not None
    os.kill(started.os_pid, signal.SIGHUP)
    assert daemon.stop(config)
    assert "takes calls" in moved.read_text()
    assert "stopped" in started.log.read_text()


def test_kernel_that_hangs(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that answers no more is told apart from none, and can still be stopped."""
    monkeypatch.setattr(http, "PING_S", 0.2)
    started = daemon.start(config)
    assert started.os_pid is not None
    os.kill(started.os_pid, signal.SIGSTOP)
    status = daemon.status(config)
    assert (status.state, status.os_pid) == ("silent", started.os_pid)
    assert "does not answer" in status.warning
    assert daemon.stop(config, timeout_s=0.1)
    assert daemon.status(config).state == "stopped"


@pytest.fixture
async def foreground(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A kernel in the foreground, which takes calls."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "lingos_kernel.server",
        env={**os.environ, "LINGOS_HOME": str(home), "LINGOS_LOAD_PLUGINS": ""},
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_S):
        while b"takes calls" not in await process.stderr.readline():
            pass
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_foreground_kernel(
    foreground: asyncio.subprocess.Process, config: Config, number: signal.Signals
) -> None:
    """In the foreground the kernel logs to stderr, and each of the usual signals stops it."""
    with pytest.raises(Busy, match=str(foreground.pid)):
        daemon.run(config)
    foreground.send_signal(number)
    _, log = await asyncio.wait_for(foreground.communicate(), WAIT_S)
    assert foreground.returncode == 0, log.decode()
    assert f"got {number.name}" in log.decode()
    assert not config.kernel.socket.exists()
