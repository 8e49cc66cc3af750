"""A dispatcher with a real pool and process table, and syscalls to try it with."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lingos_kernel.processes import ProcessTable
from lingos_kernel.security.audit_chain import AuditRecord
from lingos_kernel.security.principal import Principal, owner
from lingos_kernel.syscalls.dispatch import Dispatcher, DispatchSettings
from lingos_kernel.syscalls.table import SyscallTable
from lingos_kernel.threads.pool import ElasticPool

ME = owner("me")


class Rig:
    """Everything that a dispatcher needs, and the records that it wrote."""

    def __init__(self, *, hooks: Any = None, **settings: Any) -> None:
        self.table = SyscallTable()
        self.processes = ProcessTable(ME, clock=time.monotonic)
        self.pool = ElasticPool(1, 8)
        self.audit: list[AuditRecord] = []
        self.dispatcher = Dispatcher(
            self.table,
            self.processes,
            self.pool,
            settings=DispatchSettings(**settings),
            hooks=hooks,
            audit=self.audit,
        )
        self.dispatcher.start()

    def add(self, *functions: Callable[..., Any]) -> None:
        """Register syscalls."""
        for function in functions:
            self.table.register(function, "test")

    def submit(self, name: str, /, *, by: Principal | None = ME, **options: Any) -> Any:
        """Submit a call; arguments under `arguments`."""
        return self.dispatcher.submit(by, name, options.pop("arguments", {}), **options)

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a call by the owner."""
        return await self.submit(name, arguments=arguments).result()

    def assert_empty(self) -> None:
        """Nothing is left in flight anywhere."""
        stats = self.dispatcher.stats()
        assert (stats.queued, stats.running) == (0, 0)
        assert self.dispatcher.calls() == []
        assert self.dispatcher._admission.running == 0
        assert not self.dispatcher._admission._by_principal
        assert not any(p.calls for p in self.processes.processes())
        assert not [p for p in self.processes.processes() if p.kind == "call"]


@pytest.fixture
async def make_rig() -> AsyncIterator[Callable[..., Rig]]:
    """Makes rigs; they are stopped after the test, and nothing may be left of them."""
    rigs: list[Rig] = []

    def make(**settings: Any) -> Rig:
        rigs.append(Rig(**settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        await rig.dispatcher.stop()
        rig.pool.shutdown()
        rig.assert_empty()


@pytest.fixture
async def rig(make_rig: Callable[..., Rig]) -> Rig:
    """One dispatcher with the default bounds."""
    return make_rig()


@pytest.fixture(scope="session")
def rig_type() -> type[Rig]:
    """For tests that make a rig for each example."""
    return Rig
