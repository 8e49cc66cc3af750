"""The kernel as one session sees it: calls wait for it, and belong to the session's process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from lingos_kernel.client.protocol import CallOptions, KernelClient
from lingos_kernel.errors import LingOSError

if TYPE_CHECKING:
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.events import AnyEvent
    from lingos_kernel.syscalls.spec import SyscallInfo

Attach = Callable[[], Awaitable[KernelClient]]


class SessionProcess:
    """The process of a session; opened at its first call, and again in a kernel that came back."""

    def __init__(self, attach: Attach, *, parent: Callable[[], int | None]) -> None:
        """`parent` is the pid of the program, with which the process ends."""
        self._attach = attach
        self._parent = parent
        self._client: KernelClient | None = None
        self.command = "session"
        """What the process is called, for people; counts when it is opened."""
        self.pid: int | None = None

    async def client(self) -> KernelClient:
        """The client, as soon as there is a kernel, with the process as the one that calls."""
        client = await self._attach()
        if self._client is not client:
            opened = await client.call(
                "proc.open",
                command=self.command,
                kind="session",
                parent=self._parent(),
                on_parent_end="end",
            )
            self.pid, self._client = int(opened["pid"]), client
        return client.with_options(pid=self.pid)

    async def close(self) -> None:
        """End the process, and with it what runs in it; a kernel that is gone has ended it."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await client.call("proc.close", pid=self.pid)
            except LingOSError:
                return


class SessionClient:
    """A `KernelClient` for one session."""

    def __init__(self, process: SessionProcess, options: CallOptions | None = None) -> None:
        self.process = process
        self._options = options or CallOptions(caller="human")

    async def __aenter__(self) -> SessionClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.process.close()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall."""
        return await (await self._client()).call(name, **arguments)

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of a syscall."""
        client = await self._client()
        async with aclosing(client.stream(name, **arguments)) as events:
            async for event in events:
                yield event

    async def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use."""
        return await (await self._client()).syscalls()

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Another process of the connection."""
        return await (await self._client()).open_process(command, kind=kind, priority=priority)

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
    ) -> SessionClient:
        """A view of this client with other options."""
        changed = self._options.changed(
            caller=caller, pid=pid, priority=priority, confirmed=confirmed, timeout_s=timeout_s
        )
        return SessionClient(self.process, changed)

    async def _client(self) -> KernelClient:
        chosen = self._options
        return (await self.process.client()).with_options(
            caller=chosen.caller,
            pid=chosen.pid,
            priority=chosen.priority,
            confirmed=chosen.confirmed,
            timeout_s=chosen.timeout_s,
        )
