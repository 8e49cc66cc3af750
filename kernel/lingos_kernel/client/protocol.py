"""How everybody outside the kernel talks to it: one protocol, in process or over the socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

from lingos_kernel.syscalls.events import AnyEvent
from lingos_kernel.syscalls.spec import SyscallInfo


class KernelClient(Protocol):
    """A connection to a kernel. One contract suite runs on every implementation.

    Use as `async with`. Raises `KernelUnavailable` when no kernel answers.
    """

    async def __aenter__(self) -> KernelClient: ...

    async def __aexit__(self, *exc: object) -> None: ...

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall; raises the `LingOSError` that it ended in.

        Cancelling the awaiting task cancels the call in the kernel.
        """

    def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of a syscall, the last one `Result` or `Failure`.

        Closing the generator early cancels the call in the kernel. Raises `KernelUnavailable`
        when the kernel goes away in the middle.
        """

    async def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use, sorted by name."""

    async def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Open a process that the following calls of this client belong to; returns its pid."""

    async def ping(self) -> dict[str, Any]:
        """Version, pid and start time of the kernel; the cheapest call there is."""
