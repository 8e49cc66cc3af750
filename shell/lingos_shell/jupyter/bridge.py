"""The notebook's connection to the kernel: on a thread of its own, for all its shells."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from lingos_kernel.errors import KernelUnavailable

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient

T = TypeVar("T")
Connect = Callable[[], Awaitable["KernelClient"]]


class Bridge:
    """An event loop on a thread, and a client on it that is connected on first use.

    Cells run on several threads, each with a loop of its own; none of them can share a client.
    """

    def __init__(self, connect: Connect, command: str) -> None:
        """`command` is what the process of the notebook is called in the kernel."""
        self._command = command
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._client: KernelClient | None = None
        self._view: KernelClient | None = None
        self.pid = 0
        """Of the notebook's process in the kernel."""
        self._kernel_os_pid = 0
        self._connecting = asyncio.Lock()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the thread; cancelling the future cancels it there."""
        return asyncio.run_coroutine_threadsafe(work, self._running_loop())

    async def client(self) -> KernelClient:
        """The client, of a kernel that answers; only for coroutines on the thread.

        Its calls belong to the notebook's process. Starts a kernel when none runs, also when the
        one before has been stopped. Raises `KernelUnavailable`.
        """
        async with self._connecting:
            if self._client is not None and not await self._is_same_kernel(self._client):
                await self._leave()
            if self._client is None:
                await self._enter()
            assert self._view is not None
            return self._view

    async def _enter(self) -> None:
        client = await (await self._connect()).__aenter__()
        try:
            self.pid = await client.with_options(caller="notebook").open_process(self._command)
            self._kernel_os_pid = (await client.ping())["os_pid"]
        except BaseException:
            await client.__aexit__(None, None, None)
            raise
        self._client = client
        self._view = client.with_options(caller="notebook", pid=self.pid)

    async def _is_same_kernel(self, client: KernelClient) -> bool:
        """Whether the kernel answers that has the notebook's process."""
        try:
            return bool((await client.ping())["os_pid"] == self._kernel_os_pid)
        except KernelUnavailable:
            return False

    def close(self) -> None:
        """Leave the kernel and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._leave(), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    async def _leave(self) -> None:
        if self._client is not None:
            await self._client.__aexit__(None, None, None)
            self._client = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run, args=(self._loop,), name="lingos-bridge", daemon=True
                ).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
