"""The table of system calls: every name, who owns it, and what it takes."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

from lingos_kernel.errors import NameCollision, PluginError, UnknownSyscall
from lingos_kernel.names import did_you_mean
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.schema import Syscall, describe
from lingos_kernel.syscalls.spec import ATTRIBUTE, Declaration, SyscallInfo

NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class SyscallTable:
    """Syscalls by name. Reading takes no lock: each change puts a new mapping into place."""

    def __init__(self) -> None:
        self._by_name: dict[str, Syscall] = {}
        self._change = threading.Lock()

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    def register(
        self, function: Callable[..., Any], owner: str, *, name: str | None = None
    ) -> SyscallInfo:
        """Add a function under its declared name, or the given one, for its owner.

        Raises `NameCollision`, or `PluginError` when the function is not marked with `@syscall`,
        its types cannot be used or its name is not `room.verb`. The table is then as before.
        """
        declaration = getattr(function, ATTRIBUTE, None)
        if not isinstance(declaration, Declaration):
            raise PluginError(
                f"{owner}: {function!r} is not a syscall",
                hint="mark it with @lingos_kernel.syscall",
            )
        full_name = _full_name(name or declaration.name or function.__name__, owner)
        made = describe(function, declaration, name=full_name, owner=owner)
        with self._change:
            if other := self._by_name.get(full_name):
                raise NameCollision(
                    f"the syscall {full_name} of {owner} is refused: {other.info.owner} has it",
                    hint="rename one of them, or load only one of the plugins",
                    name=full_name,
                    owners=[other.info.owner, owner],
                )
            self._by_name = {**self._by_name, full_name: made}
        return made.info

    def unregister(self, owner: str) -> list[str]:
        """Remove all syscalls of an owner; returns their names. Calls that run go on."""
        with self._change:
            gone = [name for name, s in self._by_name.items() if s.info.owner == owner]
            self._by_name = {n: s for n, s in self._by_name.items() if s.info.owner != owner}
        return gone

    def get(self, name: str) -> Syscall:
        """The syscall; raises `UnknownSyscall` with the names nearest to it."""
        found = self._by_name.get(name)
        if found is None:
            hint = did_you_mean(name, self._by_name, otherwise="`lingos syscalls` lists them")
            raise UnknownSyscall(f"there is no syscall {name!r}", hint=hint, name=name)
        return found

    def info(self, name: str, principal: Principal) -> SyscallInfo:
        """A syscall that the principal may use; raises `UnknownSyscall` for any other."""
        found = self._by_name.get(name)
        if found is not None and principal.may(found.info.capability):
            return found.info
        usable = [info.name for info in self.infos(principal)]
        hint = did_you_mean(name, usable, otherwise="`lingos syscalls` lists them")
        raise UnknownSyscall(f"there is no syscall {name!r} for you", hint=hint, name=name)

    def infos(self, principal: Principal | None = None) -> list[SyscallInfo]:
        """Every syscall that the principal may use, or all, by name."""
        return [
            syscall.info
            for _, syscall in sorted(self._by_name.items())
            if principal is None or principal.may(syscall.info.capability)
        ]

    # What a plugin host needs of a registry (`plugins.Sink`)

    def add(self, item: Any, *, owner: str, name: str | None = None) -> str:
        """As `register`; returns the full name."""
        return self.register(item, owner, name=name).name

    def remove_owner(self, owner: str) -> list[str]:
        """As `unregister`."""
        return self.unregister(owner)


def _full_name(name: str, owner: str) -> str:
    full_name = name if "." in name else f"{owner}.{name}"
    if not NAME.fullmatch(full_name):
        raise PluginError(
            f"{owner}: {full_name!r} is not a syscall name",
            hint="use room.verb in lower-case letters, digits and _",
        )
    return full_name
