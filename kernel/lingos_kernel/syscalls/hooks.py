"""The plugins' hooks around calls, as the dispatcher sees them."""

from __future__ import annotations

from typing import Any, Protocol

from lingos_kernel.syscalls.events import Failure, Result
from lingos_kernel.syscalls.spec import SyscallInfo


class Hooks(Protocol):
    """The plugins' hooks around calls; `plugins.PluginHost` implements it."""

    @property
    def watches_before(self) -> bool:
        """Whether any plugin implements `lingos_before_syscall`."""

    @property
    def watches_after(self) -> bool:
        """Whether any plugin implements `lingos_after_syscall`."""

    def before_syscall(
        self, info: SyscallInfo, context: Any, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """The arguments to run with; raises the `LingOSError` of a plugin that refuses."""

    def after_syscall(self, info: SyscallInfo, context: Any, outcome: Result | Failure) -> None:
        """Tell the plugins how a call ended; never raises."""
