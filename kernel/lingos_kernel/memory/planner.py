"""How much memory the KV pages of a model get, and how many inferences that fits. Pure sums."""

from __future__ import annotations

from dataclasses import dataclass

from lingos_kernel.errors import OutOfMemory
from lingos_kernel.memory.pages import PAGE_SLOTS, pages_for


@dataclass(frozen=True, slots=True)
class MemoryDemand:
    """What a model asks of a device."""

    weight_bytes: int
    page_bytes: int
    """One page over all layers."""
    context_tokens: int
    expected_tokens: int
    """Prompt and output of a typical inference."""
    max_running: int


@dataclass(frozen=True, slots=True)
class KvPlan:
    """The answer: N = M // C inferences fit into the budget."""

    budget_bytes: int
    """M: weights and KV pages together."""
    inference_bytes: int
    """C: an inference's share of the weights and its KV pages."""
    inferences: int
    """N."""
    pages: int
    kv_bytes: int


def plan_kv(demand: MemoryDemand, *, free_bytes: int, share: float, kv_bytes: int = 0) -> KvPlan:
    """The KV pages for a model on a device with `free_bytes` left after its weights.

    Takes `share` of the free bytes, but no more than `max_running` full contexts can fill.
    `kv_bytes` > 0 overrides that. Raises `OutOfMemory`, with the sums, when not even one page
    fits.
    """
    fullest = pages_for(demand.context_tokens) * demand.max_running
    wanted = kv_bytes // demand.page_bytes or min(
        int(free_bytes * share) // demand.page_bytes, fullest
    )
    if wanted < 1 or wanted * demand.page_bytes > free_bytes:
        raise OutOfMemory(
            f"no room for KV pages: {max(wanted, 1)} pages of {_mib(demand.page_bytes)} wanted,"
            f" {_mib(free_bytes)} free beside {_mib(demand.weight_bytes)} of weights",
            hint="unload another model, or set engine.kv_bytes lower",
        )
    per_inference = pages_for(demand.expected_tokens) * demand.page_bytes
    taken = wanted * demand.page_bytes
    inferences = max(taken // per_inference, 1)
    # With the weights shared by all N, C = W / N + KV; then N * C <= W + KV budget = M.
    return KvPlan(
        budget_bytes=demand.weight_bytes + taken,
        inference_bytes=demand.weight_bytes // inferences + per_inference,
        inferences=inferences,
        pages=wanted,
        kv_bytes=taken,
    )


def page_bytes_of(slot_bytes: int) -> int:
    """Bytes of one page, given the bytes of one token's keys and values over all layers."""
    return slot_bytes * PAGE_SLOTS


def request_sums(
    *, prompt_tokens: int, max_tokens: int, choices: int, pages: int, page_bytes: int
) -> str:
    """Why a request does or does not fit, as a person would write it."""
    needed = pages_for(prompt_tokens + max_tokens)
    return (
        f"{prompt_tokens} prompt + {max_tokens} output tokens need {needed} pages"
        f" ({_mib(needed * page_bytes)}){' for each choice' if choices > 1 else ''},"
        f" the pool has {pages} ({_mib(pages * page_bytes)})"
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
