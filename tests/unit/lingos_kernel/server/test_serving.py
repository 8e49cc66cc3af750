"""Idle exit, draining and stopping."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel import syscall
from lingos_kernel.client.http import HttpClient
from lingos_kernel.errors import Cancelled, ConfigError, KernelUnavailable
from lingos_kernel.kernel import Kernel
from lingos_kernel.server.claim import claim
from lingos_kernel.server.presence import Presence
from lingos_kernel.server.serving import StopRequest, first, serve, started, until_idle
from lingos_kernel.testing import FakeClock

WAIT_S = 20.0


class Stage:
    """A syscall that waits until the test lets it go."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()

    def make(self) -> Any:
        """The syscall."""

        @syscall("stage.wait")
        async def wait() -> str:
            """Wait."""
            self.began.set()
            await self.go_on.wait()
            return "done"

        return wait


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket's path."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        yield Path(folder) / "kernel.sock"


@pytest.fixture
async def stage(scripted_kernel: Kernel) -> Stage:
    """The waiting syscall, in the kernel."""
    stage = Stage()
    scripted_kernel.table.register(stage.make(), "stage")
    return stage


@asynccontextmanager
async def serving(
    kernel: Kernel, path: Path, **options: Any
) -> AsyncIterator[tuple[StopRequest, asyncio.Task[None]]]:
    """A kernel that is served, and how to stop it."""
    claimed = claim(path)
    up, stop = asyncio.Event(), StopRequest()
    task = asyncio.create_task(
        serve(partial(started, kernel), claimed.listener, stop, ready=up.set, **options)
    )
    await first(up.wait(), asyncio.wait({task}))
    try:
        yield stop, task
    finally:
        stop.ask("over")
        stop.ask("over, at once")
        await asyncio.wait_for(task, WAIT_S)
        claimed.release()


class TestStopping:
    """What happens to calls when the kernel stops."""

    async def test_running_calls_may_end(
        self, scripted_kernel: Kernel, stage: Stage, path: Path
    ) -> None:
        """A stopping kernel lets a call end, and takes no new one, from nobody."""
        async with (
            serving(scripted_kernel, path) as (stop, task),
            HttpClient(path) as client,
            HttpClient(path) as late,
        ):
            await late.ping()
            call = asyncio.create_task(client.call("stage.wait"))
            await stage.began.wait()
            stop.ask("test")
            with pytest.raises(KernelUnavailable, match="stopping"):
                await late.call("sys.help")
            async with HttpClient(path) as newcomer:
                with pytest.raises(KernelUnavailable, match="no kernel answers"):
                    await newcomer.ping()
            stage.go_on.set()
            assert await asyncio.wait_for(call, WAIT_S) == "done"
            await asyncio.wait_for(task, WAIT_S)

    async def test_calls_that_take_too_long_are_cancelled(
        self, scripted_kernel: Kernel, stage: Stage, path: Path
    ) -> None:
        """After the time for draining a call is cancelled, and its caller is told."""
        async with (
            serving(scripted_kernel, path, drain_s=0.05) as (stop, task),
            HttpClient(path) as client,
        ):
            call = asyncio.create_task(client.call("stage.wait"))
            await stage.began.wait()
            stop.ask("test")
            with pytest.raises(Cancelled):
                await asyncio.wait_for(call, WAIT_S)
            await asyncio.wait_for(task, WAIT_S)

    async def test_second_request_is_urgent(
        self, scripted_kernel: Kernel, stage: Stage, path: Path
    ) -> None:
        """Asked twice, the kernel cancels what runs without waiting."""
        async with (
            serving(scripted_kernel, path, drain_s=1000.0) as (stop, task),
            HttpClient(path) as client,
        ):
            call = asyncio.create_task(client.call("stage.wait"))
            await stage.began.wait()
            stop.ask("test")
            stop.ask("now")
            with pytest.raises(Cancelled):
                await asyncio.wait_for(call, WAIT_S)
            await asyncio.wait_for(task, WAIT_S)

    async def test_open_process_does_not_hold_it_up(
        self, scripted_kernel: Kernel, path: Path
    ) -> None:
        """A client that merely is there does not keep a kernel from stopping."""
        async with (
            serving(scripted_kernel, path, drain_s=1000.0) as (stop, task),
            HttpClient(path) as client,
        ):
            await client.open_process("x")
            stop.ask("test")
            await asyncio.wait_for(task, WAIT_S)

    async def test_failing_start_is_raised(
        self, scripted_kernel: Kernel, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kernel that cannot start never listens on."""

        async def fail() -> None:
            raise RuntimeError("no")

        monkeypatch.setattr(scripted_kernel, "start", fail)
        claimed = claim(path)
        with pytest.raises(RuntimeError, match="no"):
            await serve(partial(started, scripted_kernel), claimed.listener, StopRequest())
        assert claimed.listener.fileno() == -1
        claimed.release()
        monkeypatch.undo()
        await scripted_kernel.stop()


class TestBooting:
    """While the kernel is on its way."""

    async def test_pings_are_answered_and_calls_wait(
        self, scripted_kernel: Kernel, path: Path
    ) -> None:
        """The socket answers from the first moment; a call is answered when the kernel is up."""
        go_on = asyncio.Event()

        async def boot() -> Kernel:
            await go_on.wait()
            return await started(scripted_kernel)

        claimed, stop = claim(path), StopRequest()
        serving = asyncio.create_task(serve(boot, claimed.listener, stop))
        async with HttpClient(path) as client:
            assert (await client.ping())["ready"] is False
            call = asyncio.create_task(client.call("sys.help"))
            assert (await client.ping())["ready"] is False
            assert not call.done()
            go_on.set()
            assert await asyncio.wait_for(call, WAIT_S)
            assert (await client.ping())["ready"] is True
        stop.ask("over")
        await serving
        claimed.release()

    async def test_calls_learn_that_it_failed(self, path: Path) -> None:
        """Who waits for a kernel that cannot start gets its error."""
        go_on = asyncio.Event()

        async def boot() -> Kernel:
            await go_on.wait()
            raise ConfigError("no such policy", hint="choose another")

        claimed = claim(path)
        serving = asyncio.create_task(serve(boot, claimed.listener, StopRequest()))
        async with HttpClient(path) as client:
            call = asyncio.create_task(client.call("sys.help"))
            await client.ping()
            go_on.set()
            with pytest.raises(ConfigError, match="no such policy"):
                await call
            with pytest.raises(ConfigError, match="no such policy"):
                await serving
        claimed.release()


class TestIdle:
    """When an idle kernel leaves."""

    async def test_idle_kernel_leaves(self, scripted_kernel: Kernel, path: Path) -> None:
        """With nobody there the kernel ends by itself."""
        async with serving(scripted_kernel, path, idle_exit_s=0.05) as (_, task):
            await asyncio.wait_for(task, WAIT_S)

    @pytest.mark.parametrize("reason", ["connected", "busy"])
    async def test_time_counts_from_the_end_of_use(self, reason: str) -> None:
        """Neither a client nor work of nobody's lets the time run; their end starts it anew."""
        clock = FakeClock()
        presence = Presence(clock, asyncio.Event())
        busy = reason == "busy"
        if not busy:
            presence.connected()
        naps: list[float] = []

        async def sleep(seconds: float) -> None:
            nonlocal busy
            naps.append(seconds)
            clock.advance(seconds)
            if len(naps) == 30:
                if busy:
                    busy = False
                else:
                    presence.disconnected()

        left_s = 30 * 5.0
        await until_idle(presence, lambda: busy, 60.0, clock=clock, sleep=sleep)
        assert left_s + 55.0 <= clock() <= left_s + 60.0
