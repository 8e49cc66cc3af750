"""Which tiers a model's KV pages get, and what they are filed under."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import msgspec
import psutil
import torch

from lingos_kernel.engine.disk_tier import DiskTier
from lingos_kernel.engine.host_tier import HostTier
from lingos_kernel.engine.kv_cache import LayerShape
from lingos_kernel.engine.kv_tiers import KvTiers, PageBytes
from lingos_kernel.engine.messages import ModelSpec
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.tier import Tier
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.memory.relief import Prices

LAYOUT_VERSION = 2
"""Rises when the same model gives other bytes for the same tokens."""
HOST_SHARE = 4
"""Beside a GPU, one in so many of the free bytes of host memory."""
_NO_MATTER = frozenset(("name", "path", "kv_bytes", "context_tokens", "budget_bytes", "identity"))
"""What a spec says that changes no byte of a page."""


def choose_tiers(
    cache: PageBytes,
    prices: Prices,
    settings: EngineSettings,
    *,
    identity: str,
    device: torch.device,
) -> KvTiers | None:
    """The tiers that the settings ask for; None when there are none."""
    tiers: list[Tier] = []
    host_bytes = _host_bytes(settings, device)
    if host_bytes >= cache.page_bytes:
        is_pinned = device.type == "cuda"
        tiers.append(
            HostTier(page_bytes=cache.page_bytes, limit_bytes=host_bytes, is_pinned=is_pinned)
        )
    if settings.disk_kv_dir and settings.disk_kv_bytes >= 0:
        tiers.append(
            DiskTier(
                Path(settings.disk_kv_dir),
                identity=identity,
                page_bytes=cache.page_bytes,
                limit_bytes=settings.disk_kv_bytes,
            )
        )
    return KvTiers(cache, tiers, prices) if tiers else None


def identity_of(
    spec: ModelSpec, shapes: list[LayerShape], dtype: torch.dtype, *, page_bytes: int
) -> str:
    """All that the bytes of a page depend on beside its tokens; the adapter is none today."""
    how = {k: v for k, v in msgspec.to_builtins(spec).items() if k not in _NO_MATTER}
    layers = [(s.index, s.kv_heads, s.key_dim, s.value_dim, str(s.dtype)) for s in shapes]
    parts = (LAYOUT_VERSION, _weights_id(spec), "adapter=", how, str(dtype), PAGE_SLOTS)
    # Another torch, or another CPU, may round otherwise.
    machine = (torch.__version__, torch.backends.cpu.get_cpu_capability())
    return repr((*parts, page_bytes, layers, *machine))


def _weights_id(spec: ModelSpec) -> str:
    """The store's id, or what tells that files have changed."""
    if spec.identity:
        return spec.identity
    digest = blake2b(digest_size=32)
    folder = Path(spec.path)
    files = [folder / "config.json", *folder.glob("*.safetensors")]
    for file in sorted(file for file in files if file.is_file()):
        status = file.stat()
        digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _host_bytes(settings: EngineSettings, device: torch.device) -> int:
    if settings.host_kv_bytes or device.type == "cpu":
        return max(settings.host_kv_bytes, 0)
    return psutil.virtual_memory().available // HOST_SHARE
