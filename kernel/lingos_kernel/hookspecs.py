"""The plugin contract: each hook is a signature and one sentence.

A plugin is a module (or object) named by an entry point of the group `lingos`; it marks its
functions with `@lingos_kernel.hookimpl`. Objects passed in are described where they are typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from lingos_kernel.syscalls.events import AnyEvent
    from lingos_kernel.syscalls.spec import Context, SyscallInfo

PROJECT = "lingos"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register:
    """Collects what a plugin offers; `add` refuses a name that another owner has."""

    def add(self, item: Any, /, *, name: str | None = None) -> None:
        """Register one item under its own name, or the given one."""
        raise NotImplementedError


@hookspec
def lingos_register_syscalls(register: Register) -> None:
    """Call `register.add(function)` for each function marked `@syscall`."""


@hookspec
def lingos_register_models(register: Register) -> None:
    """Call `register.add(source, name=alias)` for each `models.catalogue.CatalogueEntry`."""


@hookspec
def lingos_register_drivers(register: Register) -> None:
    """Call `register.add(factory, name=scheme)`; a factory makes an `Engine` from settings."""


@hookspec
def lingos_register_policies(register: Register) -> None:
    """Call `register.add(policy_class, name=...)` for each scheduling policy."""


@hookspec
def lingos_register_commands(register: Register) -> None:
    """Call `register.add(click_command)` for each command of the command line."""


@hookspec
def lingos_register_panes(register: Register) -> None:
    """Call `register.add(pane_factory, name=...)` for each pane of the terminal interface."""


@hookspec
def lingos_register_loaders(register: Register) -> None:
    """Call `register.add(async_function, name=...)` for what `@name:what` loads as text."""


@hookspec
def lingos_register_services(register: Register) -> None:
    """Call `register.add(async_function, name=...)`; it runs from startup until cancelled."""


@hookspec
def lingos_startup(kernel: Any) -> None:
    """The kernel is about to take calls; `kernel.call(name, **arguments)` works."""


@hookspec
def lingos_shutdown(kernel: Any) -> None:
    """The kernel has stopped taking calls and is about to leave."""


@hookspec
def lingos_before_syscall(
    info: SyscallInfo, context: Context, arguments: dict[str, Any]
) -> dict[str, Any] | None:
    """Look at a validated call before it runs; return arguments to replace them, or raise."""


@hookspec
def lingos_after_syscall(info: SyscallInfo, context: Context, outcome: AnyEvent) -> None:
    """Look at how a call ended: its `Result` or `Failure`."""
