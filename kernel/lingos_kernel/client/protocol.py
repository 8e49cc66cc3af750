"""How everybody outside the kernel talks to it: one protocol, in process or over the socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.events import AnyEvent
    from lingos_kernel.syscalls.spec import SyscallInfo


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What goes with a call beside its arguments."""

    caller: CallerKind = "code"
    pid: int | None = None
    """The process that the call belongs to; None: the client's own, else one per call."""
    priority: int | None = None
    """-20 (most urgent) to 19; None: the process's."""
    confirmed: bool = False
    """A person has said yes to a syscall that asks for it."""
    timeout_s: float | None = None
    """Ends the call as `CallTimeout`; None, or more than the syscall's own limit: that limit."""

    def changed(self, **changes: Any) -> CallOptions:
        """These options with some changed; None leaves one as it is."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})


class KernelClient(Protocol):
    """A connection to a kernel. One contract suite runs on every implementation.

    Use as `async with`. Arguments and results are JSON-able, whatever lies between. Raises
    `KernelUnavailable` when no kernel answers; the next call tries again.
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
        """Open a process that the following calls of this client belong to; returns its pid.

        It ends with the client, even with one that is killed.
        """

    async def ping(self) -> dict[str, Any]:
        """Version, os_pid and started_s (Unix time) of the kernel; the cheapest call there is.

        `ready`: it has started, calls no longer wait. `warning` says so when the
        client's version is another one; it is empty otherwise.
        """

    def with_options(
        self,
        *,
        caller: CallerKind | None = None,
        pid: int | None = None,
        priority: int | None = None,
        confirmed: bool | None = None,
        timeout_s: float | None = None,
    ) -> KernelClient:
        """This client, over the same connection, with other options; None leaves one as it is.

        The answer is a view: only the original is entered and left.
        """
