"""LingOS: an operating system for language models.

The public API, for plugins and programs: `syscall`, `hookimpl`, `Context`, `Result`, `Principal`,
the errors, and `connect()`. Names are imported on first use, so `import lingos_kernel` is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingos_kernel.client.sync import connect
    from lingos_kernel.hookspecs import Register, hookimpl
    from lingos_kernel.security.principal import Principal
    from lingos_kernel.syscalls.events import Item, Progress, Result
    from lingos_kernel.syscalls.spec import Context, SyscallInfo, syscall

__version__ = "0.1.0"

_HOMES = {
    "Context": "syscalls.spec",
    "Item": "syscalls.events",
    "Principal": "security.principal",
    "Progress": "syscalls.events",
    "Register": "hookspecs",
    "Result": "syscalls.events",
    "SyscallInfo": "syscalls.spec",
    "connect": "client.sync",
    "hookimpl": "hookspecs",
    "syscall": "syscalls.spec",
}

__all__ = [
    "Context",
    "Item",
    "Principal",
    "Progress",
    "Register",
    "Result",
    "SyscallInfo",
    "__version__",
    "connect",
    "hookimpl",
    "syscall",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
