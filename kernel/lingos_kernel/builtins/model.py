"""`model.*`: the store, and which models are in memory."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import msgspec

from lingos_kernel.builtins.services import Services, pull_progress
from lingos_kernel.engine.messages import KvFormat, WeightFormat
from lingos_kernel.engine.residency import Formats
from lingos_kernel.errors import CorruptModel, UnknownModel
from lingos_kernel.models.store import StoredModel
from lingos_kernel.syscalls.spec import Context, syscall


class ModelSyscalls:
    """Pull, look at, load and remove models."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _described(self, stored: StoredModel) -> dict[str, Any]:
        described = {**asdict(stored), "path": str(stored.path)}
        described["loaded"] = stored.name in self._services.engine.models
        described |= asdict(self._services.engine.keeper.residence(stored.name))
        return described

    @syscall("model.list", cost="io")
    async def list_all(self) -> list[dict[str, Any]]:
        """List the stored models, and say which are in memory."""
        stored = await asyncio.to_thread(self._services.store.list)
        return [self._described(model) for model in stored]

    @syscall("model.show", cost="io")
    async def show(self, context: Context, name: str | None = None) -> dict[str, Any]:
        """Show what is known about a model.

        Args:
            name: a stored model; the default when not given.
        """
        residency = self._services.residency
        stored = await residency.find(name, on_progress=pull_progress(context))
        formats = residency.formats(stored)
        described = self._described(stored)
        described |= {"weight_format": formats.weights, "kv_format": formats.kv}
        if loaded := self._services.engine.models.get(stored.name):
            # Defaults are left out of messages, not of what people read.
            memory = msgspec.to_builtins(loaded)
            described["memory"] = {**memory, "batch_invariant": loaded.batch_invariant}
        return described

    @syscall("model.pull", cost="io", timeout_s=86_400)
    async def pull(self, context: Context, source: str, alias: str | None = None) -> dict[str, Any]:
        """Fetch a model into the store; does nothing when it is there already.

        Args:
            source: a catalogue name, hf:ORG/NAME[@REV], a folder or a .gguf file.
            alias: a further name for it.
        """
        stored = await self._services.residency.pull(
            source, alias=alias, on_progress=pull_progress(context)
        )
        return self._described(stored)

    @syscall("model.remove", cost="io", confirm=True)
    async def remove(self, name: str) -> dict[str, Any]:
        """Remove a model from the store; refused while it is in memory and used.

        Args:
            name: a stored model.
        """
        store = self._services.store
        with suppress(CorruptModel):  # a damaged model is in no memory, and can still be removed
            stored = await asyncio.to_thread(store.resolve, name)
            if stored.name in self._services.engine.models:
                await self._services.residency.unload(stored.name)
        removed = await asyncio.to_thread(store.remove, name)
        return {"removed": removed.name, "bytes": removed.bytes_on_disk}

    @syscall("model.load", cost="engine")
    async def load(
        self,
        context: Context,
        name: str | None = None,
        weights: WeightFormat | None = None,
        kv: KvFormat | None = None,
    ) -> dict[str, Any]:
        """Bring a model into memory before it is asked for.

        Args:
            name: a stored model; the default when not given.
            weights: keep its weights like this until the kernel ends: native, int8 or int4.
            kv: keep keys and values like this until the kernel ends: native or int8.
        """
        residency = self._services.residency
        stored = await residency.find(name, on_progress=pull_progress(context))
        present = residency.formats(stored)
        formats = Formats(weights or present.weights, kv or present.kv)
        return msgspec.to_builtins(  # type: ignore[no-any-return]
            await residency.load(stored, formats, tenant=context.principal.tenant)
        )

    @syscall("model.unload", cost="engine")
    async def unload(self, name: str) -> dict[str, Any]:
        """Free the memory of an idle model.

        Args:
            name: a model in memory.
        """
        stored = await asyncio.to_thread(self._services.store.resolve, name)
        if stored.name not in self._services.engine.models:
            raise UnknownModel(
                f"{stored.name} is not in memory", hint="`lingos models` says which are"
            )
        await self._services.residency.unload(stored.name)
        return {"unloaded": stored.name}

    @syscall("model.tag", cost="io")
    async def tag(self, name: str, alias: str) -> dict[str, Any]:
        """Give a stored model a further name.

        Args:
            name: a stored model.
            alias: the further name.
        """
        await asyncio.to_thread(self._services.store.tag, name, alias)
        return self._described(self._services.store.resolve(alias))

    @syscall("model.verify", cost="io", timeout_s=3_600)
    async def verify(self, name: str) -> dict[str, Any]:
        """Read a stored model again and compare every file with its digest.

        Args:
            name: a stored model.
        """
        await asyncio.to_thread(self._services.store.verify, name)
        return {"verified": self._services.store.resolve(name).name}
