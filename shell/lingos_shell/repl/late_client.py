"""A client that can be used before its kernel is there: calls wait until it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from lingos_kernel.client.protocol import CallOptions, KernelClient
from lingos_kernel.errors import KernelUnavailable

if TYPE_CHECKING:
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.events import AnyEvent
    from lingos_kernel.syscalls.spec import SyscallInfo

Connect = Callable[[], Awaitable[KernelClient]]
State = Literal["apart", "attaching", "attached"]


class _Link:
    """One connection for a client and its views; made when it is first needed, and again."""

    def __init__(self, connect: Connect, on_attached: Callable[[int], None]) -> None:
        self._connect = connect
        self._on_attached = on_attached
        self._command: str | None = None
        self._attaching: asyncio.Task[KernelClient] | None = None

    def start(self) -> asyncio.Task[KernelClient]:
        """Begin to attach, unless that has been done."""
        if self._attaching is None or _has_failed(self._attaching):
            self._attaching = asyncio.create_task(self._attach(), name="attach")
        return self._attaching

    @property
    def state(self) -> State:
        """How it stands."""
        if self._attaching is None:
            return "apart"
        if not self._attaching.done():
            return "attaching"
        return "apart" if _has_failed(self._attaching) else "attached"

    async def client(self) -> KernelClient:
        """The client. Raises `KernelUnavailable`; then the next call tries again."""
        return await asyncio.shield(self.start())

    async def lose(self) -> None:
        """Attach anew at the next call: the kernel has gone."""
        attaching, self._attaching = self._attaching, None
        if attaching is not None and attaching.done() and not _has_failed(attaching):
            await attaching.result().__aexit__(None, None, None)

    async def close(self) -> None:
        """Give up what is attached or being attached."""
        if self._attaching is not None and not self._attaching.done():
            self._attaching.cancel()
            await asyncio.gather(self._attaching, return_exceptions=True)
        await self.lose()

    async def open_process(self, command: str) -> int:
        """Open the client's process, now and after each new attaching."""
        self._command = command
        client = await self.client()
        return await client.open_process(command)

    async def _attach(self) -> KernelClient:
        client = await self._connect()
        await client.__aenter__()
        if self._command is not None:
            self._on_attached(await client.open_process(self._command))
        return client


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class LateClient:
    """A `KernelClient` whose kernel may still be starting, or may go and come back."""

    def __init__(
        self,
        connect: Connect,
        *,
        command: str,
        on_attached: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """`on_attached` gets the pid of the process `command`, which is opened each time."""
        self._link = _Link(connect, on_attached)
        self._link._command = command
        self._options = CallOptions()

    def start(self) -> None:
        """Begin to attach; no call is needed for it."""
        self._link.start()

    @property
    def state(self) -> State:
        """apart: the next call attaches, and starts a kernel when none runs."""
        return self._link.state

    async def __aenter__(self) -> LateClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._link.close()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall."""
        client = await self._client()
        try:
            return await client.call(name, **arguments)
        except KernelUnavailable:
            await self._link.lose()
            raise

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of a syscall."""
        client = await self._client()
        try:
            async with aclosing(client.stream(name, **arguments)) as events:
                async for event in events:
                    yield event
        except KernelUnavailable:
            await self._link.lose()
            raise

    async def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use."""
        return await (await self._client()).syscalls()

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:  # noqa: ARG002  # one kind is needed here
        """Open a process; it is opened again when the kernel has come back."""
        return await self._link.open_process(command)

    async def ping(self) -> dict[str, Any]:
        """Version, os_pid and started_s of the kernel."""
        return await (await self._client()).ping()

    def with_options(
        self,
        *,
        caller: CallerKind | None = None,
        pid: int | None = None,
        priority: int | None = None,
        confirmed: bool | None = None,
        timeout_s: float | None = None,
    ) -> LateClient:
        """A view of this client with other options."""
        view = LateClient.__new__(LateClient)
        view._link = self._link
        view._options = self._options.changed(
            caller=caller, pid=pid, priority=priority, confirmed=confirmed, timeout_s=timeout_s
        )
        return view

    async def _client(self) -> KernelClient:
        client = await self._link.client()
        options = self._options
        return client.with_options(
            caller=options.caller,
            pid=options.pid,
            priority=options.priority,
            confirmed=options.confirmed,
            timeout_s=options.timeout_s,
        )
