"""The forward pass of a causal model over pages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lingos_kernel.engine.attention import PAGED, PagedLayer, PagedState, SdpaBackend
from lingos_kernel.engine.batch import PackedBatch, Part
from lingos_kernel.engine.cpu_threads import CpuThreads
from lingos_kernel.engine.kv_cache import KvCache
from lingos_kernel.engine.probe import Found
from lingos_kernel.engine.segment_attention import SegmentBackend
from lingos_kernel.engine.segment_index import QUERY_ROWS


class ModelRunner:
    """A model whose attention modules read and write the pages of a cache."""

    def __init__(self, model: Any, found: Found, cache: KvCache, *, threads: int = 0) -> None:
        """`threads`: of one operation on a CPU, at most; 0 leaves torch as it is."""
        self.model = model
        self.cache = cache
        self._device: torch.device = model.device
        self._threads = CpuThreads(self._device, threads)
        shapes = [shape for _, shape in found]
        is_segmented = SegmentBackend.can_serve(self._device, shapes)
        self._least_rows = QUERY_ROWS if is_segmented else 1
        self._state = PagedState(SegmentBackend(shapes) if is_segmented else SdpaBackend(shapes))
        for (module, shape), layer in zip(found, cache.layers, strict=True):
            module.lingos_layer = PagedLayer(shape, layer, self._state)  # type: ignore[assignment]
        model.set_attn_implementation(PAGED)

    @torch.inference_mode()
    def forward(self, parts: list[Part]) -> Tensor:
        """Compute the parts; [R, vocabulary] float32 logits of the rows that they ask for.

        Parts of one token come first. With no rows asked for, R is 0.
        """
        batch = PackedBatch.pack(parts, self._device, least_rows=self._least_rows)
        self._threads.use_for(batch.input_ids.numel())
        rows = batch.logit_rows
        with self._state.bound(batch):
            output = self.model(
                input_ids=batch.input_ids,
                position_ids=batch.position_ids,
                use_cache=False,
                logits_to_keep=rows,
            )
        wanted = sum(len(part.token_ids) - part.logits_from for part in parts)
        logits: Tensor = output.logits[0, :wanted]
        return logits.float()

    @torch.inference_mode()
    def copy_pages(self, copies: list[tuple[int, int]]) -> None:
        """Copy pages (source, target) in the cache."""
        self.cache.copy_pages(copies)
