"""The formats of the KV cache by name."""

from __future__ import annotations

from lingos_kernel.engine.int8_cache import Int8LayerCache
from lingos_kernel.engine.kv_cache import LayerCache, LayerStore
from lingos_kernel.engine.messages import KvFormat

KV_STORES: dict[KvFormat, type[LayerStore]] = {"native": LayerCache, "int8": Int8LayerCache}
