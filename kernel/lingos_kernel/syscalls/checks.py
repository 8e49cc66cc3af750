"""What a call must pass before it gets a place: who, may they, is it right, is it confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lingos_kernel.errors import (
    ConfirmationRequired,
    InvalidArguments,
    NotAuthenticated,
    NotPermitted,
)
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.table import SyscallTable

NOBODY = Principal("", kind="code")
"""Stands for a caller who is not known; may do nothing."""


def check(
    call: Call, principal: Principal | None, table: SyscallTable, arguments: Mapping[str, Any]
) -> None:
    """Set the syscall and the checked arguments of a call; changes nothing else.

    Raises `NotAuthenticated`, `UnknownSyscall`, `NotPermitted`, `InvalidArguments` or
    `ConfirmationRequired`, whose details hold what a person is to say yes to.
    """
    if isinstance(arguments, Mapping):
        call.argument_names = tuple(arguments)
    if principal is None:
        raise NotAuthenticated(f"{call.name}: it is not known who calls", hint="log in first")
    call.syscall = syscall = table.get(call.name)
    info = syscall.info
    if not principal.may(info.capability):
        raise NotPermitted(
            f"{principal.name} may not call {info.name}",
            hint=f"it needs the capability {info.capability}",
            capability=info.capability,
        )
    if not isinstance(arguments, Mapping):
        raise InvalidArguments(
            f"{info.name}: the arguments are {type(arguments).__name__}",
            hint="give an object with a value for each name",
        )
    call.arguments = syscall.validate(arguments)
    if info.confirm and not call.confirmed:
        raise ConfirmationRequired(
            f"{info.name} wants a person's yes: {info.summary}",
            hint="confirm the call",
            syscall=info.name,
            arguments=dict(arguments),
        )
