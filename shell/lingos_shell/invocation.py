"""One run of a command: what its common options said, and how it reaches a kernel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_kernel.config import Config

T = TypeVar("T")


@dataclass(slots=True)
class Invocation:
    """What the options that every command takes said; tests give their own `connect`."""

    as_json: bool = False
    local: bool = False
    verbose: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)
    connect: Callable[[Invocation, bool], Awaitable[KernelClient]] | None = None

    def config(self) -> Config:
        """The settings, with those of this command line on top. Raises `ConfigError`."""
        from pathlib import Path

        from lingos_kernel.config import load_config

        return load_config(project_dir=Path.cwd(), overrides=self.overrides)

    async def client(self, *, start: bool) -> KernelClient:
        """A client to use with `async with`; `start` starts a kernel when none runs.

        Raises `KernelUnavailable`.
        """
        if self.connect is not None:
            return await self.connect(self, start)
        from lingos_kernel.client.connect import connect

        return await connect(self.config(), start=start, local=self.local)

    def run(self, work: Callable[[KernelClient], Awaitable[T]], *, start: bool = True) -> T:
        """Do asynchronous work with a client. Ctrl-C cancels it: raises `KeyboardInterrupt`."""
        from lingos_shell.runner import run_interruptible

        async def connected() -> T:
            async with await self.client(start=start) as client:
                return await work(client.with_options(caller="human"))

        return run_interruptible(connected())
