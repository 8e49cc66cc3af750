"""What a name after a slash stands for: a word of the shell, or a syscall by any of its names."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import UnknownSyscall
from lingos_kernel.names import did_you_mean
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.registry import WORDS

FRESH_S = 5.0
"""How long a list of syscalls is believed when a name is not on it."""


class Names:
    """The words and syscalls that can be called, each described by a `SyscallInfo`."""

    def __init__(
        self,
        client: KernelClient,
        words: Mapping[str, SyscallInfo],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`words` are those that are no other names for syscalls."""
        self._client = client
        self._words = words
        self._clock = clock
        self._syscalls: dict[str, SyscallInfo] = {}
        self._asked_s = float("-inf")

    async def find(self, name: str) -> SyscallInfo:
        """The word or syscall: by its name, a word for it, or its last part when that is its own.

        Raises `UnknownSyscall`.
        """
        if name in self._words:
            return self._words[name]
        syscalls = await self.syscalls()
        found = _lookup(name, syscalls)
        if found is None and self._clock() - self._asked_s > FRESH_S:
            found = _lookup(name, syscalls := await self._ask())
        if found is None:
            known = [*self._words, *WORDS, *syscalls]
            raise UnknownSyscall(
                f"there is no /{name}",
                hint=did_you_mean(name, known, otherwise="/help lists what there is"),
            )
        return found

    async def syscalls(self) -> dict[str, SyscallInfo]:
        """The syscalls by name, as last heard from the kernel."""
        return self._syscalls or await self._ask()

    async def _ask(self) -> dict[str, SyscallInfo]:
        self._syscalls = {info.name: info for info in await self._client.syscalls()}
        self._asked_s = self._clock()
        return self._syscalls

    async def all(self) -> list[tuple[str, SyscallInfo]]:
        """Every name with what it stands for: words first, as in the registry."""
        syscalls = await self.syscalls()
        named: dict[str, SyscallInfo] = {}
        for word, entry in WORDS.items():
            if word in self._words:
                named[word] = self._words[word]
            elif entry.syscall in syscalls:
                named[word] = replace(syscalls[entry.syscall], summary=entry.summary)
        return [*{**named, **self._words, **syscalls}.items()]


def _lookup(name: str, syscalls: Mapping[str, SyscallInfo]) -> SyscallInfo | None:
    if name in syscalls:
        return syscalls[name]
    entry = WORDS.get(name)
    if entry is not None and entry.syscall in syscalls:
        return syscalls[entry.syscall]
    ending = [info for full, info in syscalls.items() if full.rpartition(".")[2] == name]
    return ending[0] if len(ending) == 1 else None
