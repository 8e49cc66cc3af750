"""How an engine is to run: fixed for the life of its process, sent to it when it starts."""

from __future__ import annotations

from typing import Literal

import msgspec


class EngineSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Settings of one engine; zeros and "auto" let the engine decide from what it finds."""

    device: str = "auto"
    """auto: the first GPU, else the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """For models that ask for "auto" themselves; auto: float32 on a CPU, bfloat16 on a GPU."""
    kv_bytes: int = 0
    """Bytes of KV pages over all models; 0: the planner decides."""
    host_kv_bytes: int = 0
    """Host memory of a model for KV pages that its device has no room for; 0: a share of what is
    free beside a GPU, none on a CPU. Negative: none."""
    disk_kv_bytes: int = 0
    """Of `disk_kv_dir`, for all models; 0: a share of what is free. Negative: none."""
    disk_kv_dir: str = ""
    """Folder of the KV pages that outlive the engine; empty: none do."""
    max_running: int = 64
    """Sequences in one step."""
    max_batch_tokens: int = 512
    """Tokens in one step, prefill and decode together."""
    policy: str = "priority"
    """Name of the scheduling policy, or MODULE:CLASS of a plugin's."""
    tenant_weights: dict[str, float] = {}
    """Shares that tenants are due under `fair`; who is not named has the weight 1."""
    pace: float = 3.0
    """A step with prefill lasts at most so many times as long as one that only decodes."""
    tenant_hold_share: float = 0.75
    """Of the pages that may be held between turns, at most so much for one tenant; 1: all."""
    page_size: int = 16
    """KV slots in a page."""
    threads: int = 0
    """Threads of one operation on a CPU; 0: one per core."""
    log_level: str = "WARNING"
