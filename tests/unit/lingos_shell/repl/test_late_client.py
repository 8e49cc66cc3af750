"""A client that is used before its kernel is there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.client.local import LocalClient
from lingos_kernel.errors import KernelUnavailable
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.repl.late_client import LateClient


async def test_calls_wait_for_the_kernel(tmp_path: Path) -> None:
    """What was asked before is answered once it is there; its process is open then."""
    ready, attached = asyncio.Event(), []
    async with scripted_kernel(tmp_path) as kernel:

        async def connect() -> Any:
            await ready.wait()
            return LocalClient(kernel)

        async with LateClient(connect, command="sh", on_attached=attached.append) as client:
            view = client.with_options(caller="human")
            asking = asyncio.ensure_future(view.call("sys.version"))
            await asyncio.sleep(0)
            assert not asking.done()
            ready.set()
            assert (await asking)["version"]
            rows = await view.call("proc.list")
            (row,) = [row for row in rows if row["pid"] == attached[0]]
            assert (row["command"], row["caller"]) == ("sh", "code")
            async with aclosing(view.stream("sys.version")) as events:
                assert len([event async for event in events]) == 2


async def test_a_cancelled_call_leaves_the_attaching_alone(tmp_path: Path) -> None:
    """The next call finds the kernel that the first one was waiting for."""
    ready, connected = asyncio.Event(), 0
    async with scripted_kernel(tmp_path) as kernel:

        async def connect() -> Any:
            nonlocal connected
            connected += 1
            await ready.wait()
            return LocalClient(kernel)

        async with LateClient(connect, command="sh") as client:
            asking = asyncio.ensure_future(client.call("sys.version"))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            ready.set()
            assert await client.syscalls()
    assert connected == 1


async def test_a_kernel_that_went_is_sought_again() -> None:
    """An error is told once; the next call attaches anew."""

    class Gone(LocalClient):
        def __init__(self) -> None:
            """Without a kernel."""

        async def __aexit__(self, *exc: object) -> None:
            return None

        async def open_process(self, command: str, **_: Any) -> int:
            return 7

        def with_options(self, **_: Any) -> Any:
            return self

        async def call(self, name: str, /, **_: Any) -> Any:
            if attached == [7]:
                raise KernelUnavailable("gone")
            return name

    async def connect() -> Any:
        return Gone()

    attached: list[int] = []
    async with LateClient(connect, command="sh", on_attached=attached.append) as client:
        with pytest.raises(KernelUnavailable):
            await client.call("x.y")
        assert await client.call("x.y") == "x.y"
        assert attached == [7, 7]
