"""`sys.*`: the kernel about itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

import lingos_kernel
from lingos_kernel.builtins.services import Services
from lingos_kernel.engine.choice import policy_reference
from lingos_kernel.errors import NotPermitted
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.syscalls.spec import Context, SyscallInfo, syscall

CHANGED = "sys.policy, until the kernel ends"


class SysSyscalls:
    """Help, state and settings."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._chosen: tuple[str, Mapping[str, float]] | None = None
        """The policy and the weights chosen while running; None: those of the settings."""

    @syscall("sys.noop", capability="*", cost="io")
    async def noop(self) -> None:
        """Do nothing: the price of the pipeline itself."""

    @syscall("sys.version", capability="*", cost="io")
    async def version(self) -> dict[str, Any]:
        """Show the kernel's version and process."""
        return {"version": lingos_kernel.__version__, "os_pid": os.getpid()}

    @syscall("sys.snapshot", cost="io")
    async def snapshot(self) -> dict[str, Any]:
        """Show everything at one moment: what the scheduler pane draws."""
        return msgspec.to_builtins(await self._services.snapshot())  # type: ignore[no-any-return]

    @syscall("sys.help", capability="*", cost="io")
    async def help(self, context: Context, name: str | None = None) -> Any:
        """List the syscalls that you may call, or describe one with its argument schema.

        Args:
            name: a syscall; all of them, shortly, when not given.
        """
        table = self._services.table
        if name is None:
            infos = table.infos(context.principal)
            return [{"name": info.name, "summary": info.summary} for info in infos]
        return _described(table.info(name, context.principal))

    @syscall("sys.plugins", cost="io")
    async def plugins(self) -> list[dict[str, Any]]:
        """List the plugins: which are loaded, failed or off, what each provides and costs."""
        records = await asyncio.to_thread(self._services.plugins.records)
        return [asdict(record) for record in records]

    @syscall("sys.config", cost="io")
    async def config(self) -> list[dict[str, Any]]:
        """Show each setting of the kernel with where its value comes from."""
        values = self._services.config.explain()
        return [{"key": v.key, "value": _plain(v.value), "source": v.source} for v in values]

    @syscall("sys.policy", cost="io")
    async def policy(
        self,
        context: Context,
        name: str | None = None,
        tenant_weights: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        """Show the scheduling policy, or go on by another one; whatever waits or runs stays.

        A change takes the capability sys.policy.change, as it is for all tenants, and holds until
        the kernel ends; engine.policy and engine.tenant_weights of the
        settings hold from its next start on. `source` says which it is.

        Args:
            name: the policy to schedule by from now on.
            tenant_weights: shares that tenants are due under `fair`; others have the weight 1.
        """
        config, plugged = self._services.config, self._services.policies
        current, weights = self._chosen or (config.engine.policy, config.engine.tenant_weights)
        if name is not None or tenant_weights is not None:
            if not context.principal.may("sys.policy.change"):
                raise NotPermitted(
                    f"{context.principal.name} may see the policy, but not change it",
                    hint="it takes the capability sys.policy.change",
                )
            current = name or current
            weights = weights if tenant_weights is None else tenant_weights
            reference = policy_reference(current, plugged)
            make_policy(reference, weights)  # raises what is wrong with them
            self._services.engine.set_policy(reference, weights)
            self._chosen = current, weights
        models = self._services.engine.stats.models
        return {
            "policy": current,
            "tenant_weights": dict(weights),
            "source": CHANGED if self._chosen else config.sources["engine.policy"],
            "choices": sorted({*POLICIES, *plugged}),
            "tenants": {model.name: msgspec.to_builtins(model.tenants) for model in models},
        }

    @syscall("sys.calls", cost="io")
    async def calls(self, limit: int = 50) -> list[dict[str, Any]]:
        """List the calls that ended last: what, for whom, how it ended, how long it took.

        Args:
            limit: how many.
        """
        return [asdict(call) for call in self._services.dispatcher.books.finished(limit)]


def _described(info: SyscallInfo) -> dict[str, Any]:
    return {**asdict(info), "arguments": dict(info.arguments), "returns": dict(info.returns)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return value if isinstance(value, int | float | bool | None) else str(value)
