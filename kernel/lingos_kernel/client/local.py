"""The client of a kernel in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from lingos_kernel.client import wire
from lingos_kernel.client.peer import user_name
from lingos_kernel.client.protocol import CallOptions
from lingos_kernel.security.principal import Principal, owner
from lingos_kernel.syscalls.events import AnyEvent

if TYPE_CHECKING:
    from lingos_kernel.kernel import Kernel
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.call import Call
    from lingos_kernel.syscalls.spec import SyscallInfo


class LocalClient:
    """A `KernelClient` without a socket; all of it belongs to the kernel's own event loop."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        principal: Principal | None = None,
        options: CallOptions = CallOptions(),  # noqa: B008  # frozen
        owns_kernel: bool = False,
    ) -> None:
        """`principal` defaults to this process's user; an owned kernel stops with the client."""
        self._kernel = kernel
        self._principal = principal or owner(user_name(os.getuid()))
        self._options = options
        self._owns_kernel = owns_kernel
        self._own_process: list[int] = []
        """At most one pid; a list, so that views see what the original opens."""

    async def __aenter__(self) -> LocalClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the process that was opened, and the kernel if it is this client's own."""
        self._end_process()
        if self._owns_kernel:
            await self._kernel.stop()

    def with_options(
        self,
        *,
        caller: CallerKind | None = None,
        pid: int | None = None,
        priority: int | None = None,
        confirmed: bool | None = None,
        timeout_s: float | None = None,
    ) -> LocalClient:
        """A view of this client with other options; None leaves one as it is."""
        view = LocalClient.__new__(LocalClient)
        view._kernel, view._principal = self._kernel, self._principal
        view._owns_kernel, view._own_process = False, self._own_process
        view._options = self._options.changed(
            caller=caller, pid=pid, priority=priority, confirmed=confirmed, timeout_s=timeout_s
        )
        return view

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall; raises the `LingOSError` that it ended in."""
        call = self._submit(name, arguments)
        try:
            return await call.result()
        finally:
            call.cancel(wire.GONE)  # does nothing to a call that has ended

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of a syscall, the last one `Result` or `Failure`."""
        call = self._submit(name, arguments)
        try:
            async with aclosing(call.events()) as events:
                async for event in events:
                    yield event
        finally:
            call.cancel(wire.GONE)

    async def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use, sorted by name."""
        return self._kernel.table.infos(self._principal)

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Open a process that the following calls belong to; it ends with this client."""
        given = {"command": command, "kind": kind, "priority": priority}
        wanted = wire.ProcessRequest.read(given)
        process = self._kernel.processes.open(
            self._identity(), wanted.command, kind=wanted.kind, priority=wanted.priority
        )
        self._end_process()
        self._own_process.append(process.pid)
        return process.pid

    async def ping(self) -> dict[str, Any]:
        """Version, os_pid and started_s of the kernel; the warning is always empty here."""
        return {**self._kernel.ping(), "ready": True, "warning": ""}

    def _identity(self) -> Principal:
        return replace(self._principal, kind=self._options.caller)

    def _submit(self, name: str, arguments: dict[str, Any]) -> Call:
        plain = msgspec.json.decode(wire.encode_arguments(name, arguments))
        options = self._options
        own_pid = self._own_process[0] if self._own_process else None
        return self._kernel.submit(
            self._identity(),
            name,
            plain,
            pid=own_pid if options.pid is None else options.pid,
            priority=options.priority,
            confirmed=options.confirmed,
            timeout_s=options.timeout_s,
        )

    def _end_process(self) -> None:
        while self._own_process:
            self._kernel.processes.close(self._own_process.pop(), "its client left")
