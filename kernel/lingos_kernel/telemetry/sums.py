"""The sums of the source papers, with their terms, from what is measured now. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from lingos_kernel.engine.messages import EngineStats, ModelLoaded
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.telemetry.snapshot import Sums
from lingos_kernel.threads.sizing import ThreadSums

EXPECTED_TOKENS = 512
"""Of one inference, while none runs that could be measured."""


def sums(
    stats: EngineStats,
    loaded: Mapping[str, ModelLoaded],
    threads: ThreadSums,
    library: Iterable[tuple[int, float]],
) -> Sums:
    """All sums; `library` holds (calls, mean cost in seconds) of each function."""
    budget = sum(model.weight_bytes + model.kv_bytes for model in loaded.values())
    per_inference = inference_bytes(stats, loaded)
    running = sum(model.running for model in stats.models)
    return Sums(
        memory_budget_bytes=budget,
        memory_per_inference_bytes=per_inference,
        inferences_that_fit=int(budget // per_inference) if per_inference else 0,
        load=running * per_inference / budget if budget else 0.0,
        thread_task_s=threads.task_s,
        thread_switch_s=threads.switch_s,
        threads_wanted=threads.wanted,
        library_efficiency=math.fsum(calls / cost for calls, cost in library if cost > 0),
        decode_floor_s=stats.step_s * stats.floor_share,
    )


def inference_bytes(stats: EngineStats, loaded: Mapping[str, ModelLoaded]) -> float:
    """C: the KV bytes of one inference, plus its share of the weights.

    The KV bytes are those that the latest inferences needed, as the engine measured; before enough
    have ended, those of the tokens that the running ones have now.

    The weights are shared by the n inferences that fit: C = KV + W / n with n = KV budget // KV,
    so that n inferences of cost C fill the budget M = W + KV budget.
    """
    models = [model for model in loaded.values() if model.page_bytes]
    if not models:
        return 0.0
    measured = [
        model.pages_per_inference * model.page_bytes
        for model in stats.models
        if model.pages_per_inference
    ]
    lengths = [s.prompt_tokens + s.output_tokens for s in stats.sequences]
    expected = sum(lengths) / len(lengths) if lengths else EXPECTED_TOKENS
    weights = sum(model.weight_bytes for model in loaded.values())
    kv_budget = sum(model.kv_bytes for model in models)
    page_bytes = sum(model.page_bytes for model in models) / len(models)
    kv = (
        sum(measured) / len(measured)
        if measured
        else math.ceil(max(expected, 1) / PAGE_SLOTS) * page_bytes
    )
    return kv + weights / max(kv_budget // kv, 1)
