"""The rows of the engine's statistics: one for each sequence, hold, model and tier.

No torch here: the kernel imports this file.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class HoldStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Pages that are kept for a program between two turns."""

    hold_id: str
    pid: int
    model: str
    tenant: str
    priority: int
    why: str
    pages: int
    left_s: float | None
    """Until it ends by itself; None: its next turn waits for its place."""


class SequenceStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sequence as the scheduler sees it."""

    request_id: str
    choice: int
    pid: int
    model: str
    state: Literal["waiting", "prefill", "decode", "paused", "preempted"]
    priority: int
    queue_position: int | None
    """0 is next; None when running."""
    prompt_tokens: int
    computed_tokens: int
    output_tokens: int
    cached_tokens: int
    pages: int
    kv_bytes: int
    waited_s: float
    running_s: float
    first_token_s: float | None
    tokens_per_s: float
    preemptions: int


class TenantStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model has computed for a tenant, under a policy that keeps books of it."""

    tenant: str
    weight: float
    counter: float
    """Cost by weight, of tokens and held pages; that of those at work comes together."""
    tokens: int


class TierStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place for a model's KV pages below its device."""

    name: str
    """host, disk."""
    off_reason: str = ""
    """Why it is not in use; empty while it works."""
    total_bytes: int = 0
    used_bytes: int = 0
    pages: int = 0
    spilled_pages: int = 0
    """Copied there, from the device or from a faster tier."""
    restored_pages: int = 0
    """Copied from there to the device."""
    hit_tokens: int = 0
    """Tokens that need not be computed for that."""
    down_bytes_per_s: float = 0.0
    """As measured, like the next."""
    up_bytes_per_s: float = 0.0


class ModelStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Memory and work of one loaded model."""

    name: str
    weight_bytes: int
    page_bytes: int
    pages_total: int
    pages_used: int
    """Held by sequences (shared pages once)."""
    pages_cached: int
    """Held by the prefix tree alone; evictable."""
    pages_free: int
    running: int
    waiting: int
    pages_held: int = 0
    """Of those used: kept for programs between two turns."""
    pages_held_most: int = 0
    """How many may be held."""
    pages_held_tenant_most: int = 0
    """How many for one tenant."""
    pages_held_by: dict[str, int] = {}
    """How many each tenant holds; those that two share count for both."""
    pages_per_inference: float = 0.0
    """Mean of the latest inferences, without shared ones; 0: too few have ended to tell."""
    max_running: int = 0
    """Inferences that may run at a time now: N = M // C; 0: no bound."""
    tiers: tuple[TierStats, ...] = ()
    tenants: tuple[TenantStats, ...] = ()
    """Of those at work, under `fair`."""
    kept_preemptions: int = 0
    """Preempted ones whose pages stayed; then those whose pages may go down, or are lost."""
    spilled_preemptions: int = 0
    dropped_preemptions: int = 0
    prefill_tokens_per_s: float = 0.0
    """As measured, to weigh computing against moving."""
