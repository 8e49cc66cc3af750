"""`model.pin`, `model.keep`, `model.reserve`: which models stay in memory, and for how long."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import InvalidArguments, NotPermitted
from lingos_kernel.models.store import StoredModel
from lingos_kernel.syscalls.spec import Context, syscall

MIB = 2**20


class ModelKeepSyscalls:
    """Say what is to stay in memory when others want the room."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def _stored(self, name: str) -> StoredModel:
        return await asyncio.to_thread(self._services.store.resolve, name)

    @syscall("model.pin", cost="engine")
    async def pin(self, context: Context, name: str) -> dict[str, Any]:
        """Load a model, and keep it in memory until it is unpinned, also over a restart.

        Args:
            name: a stored model.
        """
        stored = await self._stored(name)
        await self._services.residency.load(stored, tenant=context.principal.tenant)
        await self._services.keeping.pin(stored.name)
        return {"pinned": stored.name}

    @syscall("model.unpin", cost="io")
    async def unpin(self, name: str) -> dict[str, Any]:
        """Let a model leave the memory again when it is idle and in the way.

        Args:
            name: a stored model.
        """
        stored = await self._stored(name)
        return {
            "unpinned": stored.name,
            "was_pinned": await self._services.keeping.unpin(stored.name),
        }

    @syscall("model.keep", cost="io")
    async def keep(
        self,
        name: str,
        ttl: Annotated[
            float | None,
            Field(ge=0, description="seconds; 0: for ever; without: as models.idle_unload_s says"),
        ] = None,
    ) -> dict[str, Any]:
        """Say how long a model may be idle before it leaves the memory, also over a restart.

        Args:
            name: a stored model.
        """
        stored = await self._stored(name)
        await self._services.keeping.set_ttl(stored.name, ttl)
        return {"model": stored.name, "ttl_s": ttl}

    @syscall("model.reserve", cost="engine")
    async def reserve(
        self,
        context: Context,
        seconds: Annotated[float, Field(gt=0, le=30 * 86_400)],
        name: str | None = None,
        mebibytes: Annotated[int, Field(ge=0, description="of the memory budget")] = 0,
    ) -> dict[str, Any]:
        """Keep a model in memory, or keep memory free for your models, for a time.

        A model is loaded now. Memory is kept from the models of other tenants. A new reservation
        takes the place of your last one of the same model, or of memory.

        Args:
            seconds: from now.
            name: a stored model; without, give mebibytes.
        """
        if (name is None) == (mebibytes == 0):
            raise InvalidArguments("reserve either a model or some mebibytes")
        model = ""
        if name is not None:
            stored = await self._stored(name)
            await self._services.residency.load(stored, tenant=context.principal.tenant)
            model = stored.name
        until = await self._services.keeping.reserve(
            context.principal.tenant, seconds, model=model, size=mebibytes * MIB
        )
        return {"model": model, "bytes": mebibytes * MIB, "until": until}

    @syscall("model.release", cost="io")
    async def release(
        self, context: Context, name: str | None = None, tenant: str | None = None
    ) -> dict[str, Any]:
        """End a reservation before its time.

        Args:
            name: the model; without, the reservation of memory.
            tenant: whose; yours when not given. Others' takes the capability
                model.release.others.
        """
        mine = context.principal.tenant
        whose = mine if tenant is None else tenant
        if whose != mine and not context.principal.may("model.release.others"):
            raise NotPermitted(
                f"the reservation belongs to {whose or 'nobody'}",
                hint="it takes the capability model.release.others",
            )
        model = (await self._stored(name)).name if name is not None else ""
        await self._services.keeping.release(whose, model)
        return {"released": model or "memory", "tenant": whose}

    @syscall("model.reservations", cost="io")
    async def reservations(self) -> list[dict[str, Any]]:
        """List the reservations in force: whose, of what, until when."""
        return msgspec.to_builtins(self._services.keeping.reservations())  # type: ignore[no-any-return]
