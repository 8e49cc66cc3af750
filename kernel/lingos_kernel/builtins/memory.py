"""`mem.*`: where the memory went, and what fits."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services, pull_progress
from lingos_kernel.memory.pages import PAGE_SLOTS, pages_for
from lingos_kernel.syscalls.spec import Context, syscall


class MemSyscalls:
    """Memory per device and model, and the planner's sums."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("mem.stat", cost="io")
    async def stat(self) -> dict[str, Any]:
        """Say where the memory of each device went: weights, KV pages, other."""
        picture = await self._services.snapshot()
        return {
            "devices": msgspec.to_builtins(picture.devices),
            "models": msgspec.to_builtins(self._services.engine.stats.models),
            "sums": msgspec.to_builtins(picture.sums),
        }

    @syscall("mem.tiers", cost="io")
    async def tiers(self) -> list[dict[str, Any]]:
        """List where KV pages go that a device has no room for: what lies there, what came back."""
        return [
            {"model": model.name} | msgspec.to_builtins(msgspec.structs.asdict(tier))
            for model in self._services.engine.stats.models
            for tier in model.tiers
        ]

    @syscall("mem.drop", cost="io", confirm=True)
    async def drop(self) -> dict[str, Any]:
        """Forget every cached prefix that nobody uses: on devices, in host memory and on disk.

        Of all tenants and of the models that are loaded. What is held or running stays.
        """
        self._services.engine.drop_cache()
        return {"models": sorted(self._services.engine.models)}

    @syscall("mem.plan", cost="engine")
    async def plan(
        self,
        context: Context,
        tokens: Annotated[int, Field(ge=1, description="prompt and output of one inference")],
        model: str | None = None,
    ) -> dict[str, Any]:
        """Say how many inferences of a length fit at once: N = M // C.

        Args:
            model: a stored model; the default when not given.
        """
        residency = self._services.residency
        resident = await residency.ensure(model, on_progress=pull_progress(context))
        loaded = await residency.load(resident.stored, tenant=context.principal.tenant)
        pages = pages_for(tokens)
        fits = loaded.pages // pages
        kv_bytes = pages * loaded.page_bytes
        return {
            "model": resident.name,
            "page_slots": PAGE_SLOTS,
            "pages_per_inference": pages,
            "pages": loaded.pages,
            "budget_bytes": loaded.weight_bytes + loaded.kv_bytes,
            "inference_bytes": kv_bytes + loaded.weight_bytes / max(fits, 1),
            "inferences": fits,
        }
