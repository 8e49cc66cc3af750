"""The models of the store as a snapshot shows them, with what the engine and its keeper know."""

from __future__ import annotations

from collections.abc import Iterable

from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.messages import EngineStats
from lingos_kernel.engine.stat_rows import ModelStats
from lingos_kernel.models.store import StoredModel
from lingos_kernel.telemetry.snapshot import ModelRow


def model_rows(
    stored: Iterable[StoredModel], stats: EngineStats, engine: BudgetedEngine, device: str
) -> tuple[ModelRow, ...]:
    """One row for each stored model, by name."""
    by_name = {model.name: model for model in stats.models}
    rows = [_row(model, by_name.get(model.name), engine, device) for model in stored]
    return tuple(sorted(rows, key=lambda row: row.name))


def _row(
    stored: StoredModel, stats: ModelStats | None, engine: BudgetedEngine, device: str
) -> ModelRow:
    ready = engine.models.get(stored.name)
    live = stats or ModelStats(stored.name, 0, 0, 0, 0, 0, 0, 0, 0)
    residence = engine.keeper.residence(stored.name)
    return ModelRow(
        name=stored.name,
        state=residence.state,
        kind=stored.kind,
        parameters=stored.parameters,
        weight_bytes=ready.weight_bytes if ready else 0,
        kv_bytes=ready.kv_bytes if ready else 0,
        kv_used_bytes=live.page_bytes * live.pages_used,
        kv_cached_bytes=live.page_bytes * live.pages_cached,
        context_tokens=ready.context_tokens if ready else stored.context_tokens,
        running=live.running,
        waiting=live.waiting + residence.waiting,
        device=device if ready else "",
        pinned=residence.pinned,
        idle_s=residence.idle_s,
        ttl_s=residence.ttl_s,
        users=residence.users,
        reserved=residence.reserved,
        why=residence.why,
        tiers=live.tiers,
        kv_held_bytes=live.page_bytes * live.pages_held,
        kv_held_tenant_most_bytes=live.page_bytes * live.pages_held_tenant_most,
    )
