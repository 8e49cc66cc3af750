"""Attention over pages, registered with transformers as `lingos_paged`.

Each attention module of a loaded model carries a `PagedLayer`. While a batch is bound, the
layer stores the new keys and values and attends over the pages; without one (embedding by
pooling) it attends causally within each row of a dense input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lingos_kernel.engine.batch import PackedBatch
from lingos_kernel.engine.kv_cache import LayerShape, LayerStore
from lingos_kernel.engine.step_index import StepIndex, causal_mask

PAGED = "lingos_paged"
"""Name of the attention function in transformers' registry."""


class AttentionBackend(Protocol):
    """Computes attention over pages; one per kind of device."""

    def prepare(self, batch: PackedBatch) -> None:
        """Build what all layers of a step share: once for each window that occurs."""

    def attend(
        self,
        shape: LayerShape,
        cache: LayerStore,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sinks: Tensor | None,
    ) -> Tensor:
        """Store keys and values of the batch, then attend.

        query [T, query_heads, key_dim], key [T, kv_heads, key_dim], value [T, kv_heads,
        value_dim] give [T - spare, query_heads, value_dim].
        """


class SdpaBackend:
    """Gathers pages and calls torch's scaled_dot_product_attention; runs on every device."""

    def __init__(self, shapes: Iterable[LayerShape]) -> None:
        self._windows = {shape.window for shape in shapes}
        self._batch: PackedBatch | None = None
        self._indices: dict[int | None, StepIndex] = {}

    def prepare(self, batch: PackedBatch) -> None:
        """Index the pages of the batch for each window."""
        self._batch = batch
        self._indices = {window: StepIndex.of(batch, window) for window in self._windows}

    def attend(
        self,
        shape: LayerShape,
        cache: LayerStore,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sinks: Tensor | None,
    ) -> Tensor:
        """Decoding rows in groups of similar length, chunks one by one."""
        assert self._batch is not None
        key, value = cache.write(self._batch.slots, key, value)
        index = self._indices[shape.window]
        outputs: list[Tensor] = []
        for group in index.groups:
            keys, values = cache.gather(group.pages, group.rows)
            rows = query[group.first : group.first + group.rows].unsqueeze(2)
            if group.prefix is None:
                output = _attend(shape, rows, keys, values, group.mask, sinks)
            else:
                prefix = cache.gather(group.prefix, 1)
                output = _attend_shared(shape, rows, prefix, (keys, values), group.mask, sinks)
            outputs.append(output.squeeze(2))
        for span in index.spans:
            here = slice(span.offset, span.offset + span.length)
            if span.pages is None:  # a prompt's beginning: all its keys are in this batch
                keys, values = key[here].transpose(0, 1)[None], value[here].transpose(0, 1)[None]
            else:
                keys, values = cache.gather(span.pages, 1)
            rows = query[here].transpose(0, 1)[None]
            outputs.append(_attend(shape, rows, keys, values, span.mask, sinks)[0].transpose(0, 1))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class PagedState:
    """What the attention modules of one model share: the backend, and whether a batch is bound."""

    def __init__(self, backend: AttentionBackend) -> None:
        self.backend = backend
        self.is_bound = False
        self.spare_rows = 0
        """Rows of the batch that nobody asked for; see `PackedBatch.spare`."""

    @contextmanager
    def bound(self, batch: PackedBatch) -> Iterator[None]:
        """Attend over pages for the batch while the block runs."""
        self.backend.prepare(batch)
        self.spare_rows = batch.spare
        self.is_bound = True
        try:
            yield
        finally:
            self.is_bound = False


class PagedLayer:
    """One attention module's way to its pages."""

    __slots__ = ("_cache", "_shape", "_state")

    def __init__(self, shape: LayerShape, cache: LayerStore, state: PagedState) -> None:
        self._shape = shape
        self._cache = cache
        self._state = state

    def attend(self, query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None) -> Tensor:
        """query, key, value [B, heads, T, dim] give [B, T, query_heads, value_dim]."""
        if not self._state.is_bound:
            mask = causal_mask(query.shape[2], self._shape.window, query.device)
            return _attend(self._shape, query, key, value, mask, sinks).transpose(1, 2)
        output = self._state.backend.attend(
            self._shape,
            self._cache,
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            sinks,
        )
        if spare := self._state.spare_rows:
            output = torch.cat((output, output[-1:].expand(spare, -1, -1)))
        return output[None]


def paged_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface.

    Scaling, window and softcap were read when the model was loaded; `engine.probe` refuses
    models that need anything else. There is no mask: none is registered under this name.
    """
    assert attention_mask is None, "pages carry their own mask"
    layer: PagedLayer = module.lingos_layer  # type: ignore[assignment]  # set when loaded
    return layer.attend(query, key, value, s_aux), None


def _attend(
    shape: LayerShape,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attention of query [B, query_heads, n, key_dim] over keys [B, kv_heads, L, key_dim].

    mask: bool, True where visible, broadcastable to [B, 1, n, L]; None when n queries see n
    keys causally (n = L), or all keys (n = 1).
    """
    if shape.softcap is not None or sinks is not None:
        return _attend_by_hand(shape, query, keys, values, mask, sinks)
    rows, heads, length, _ = query.shape
    grouped = heads != keys.shape[1]
    if grouped and query.device.type != "cpu":
        if length == 1:  # the heads that share keys become queries of one position
            packed = query.view(rows, keys.shape[1], -1, query.shape[-1])
            output = scaled_dot_product_attention(
                packed, keys, values, attn_mask=mask, scale=shape.scaling
            )
            return output.reshape(rows, heads, 1, -1)
        # Outside of the CPU a mask and enable_gqa together fall back to the slow kernel.
        keys, values = (t.repeat_interleave(heads // t.shape[1], dim=1) for t in (keys, values))
        grouped = False
    return scaled_dot_product_attention(
        query,
        keys,
        values,
        attn_mask=mask,
        is_causal=mask is None and length > 1,
        scale=shape.scaling,
        enable_gqa=grouped,
    )


def _attend_shared(
    shape: LayerShape,
    query: Tensor,
    prefix: tuple[Tensor, Tensor],
    own: tuple[Tensor, Tensor],
    mask: Tensor | None,
    sinks: Tensor | None,
) -> Tensor:
    """As `_attend` of single queries over keys and values that all rows begin with and own ones.

    query [B, query_heads, 1, key_dim]; prefix [1, kv_heads, K, dim], read once for all rows, as in
    Hydragen (Juravsky et al. 2024), but with one softmax over both; own [B, kv_heads, L, dim], of
    which `mask` [B, 1, 1, L] tells the visible.
    """
    (prefix_keys, prefix_values), (keys, values) = prefix, own
    rows, heads, _, dim = query.shape
    groups = keys.shape[1]
    packed = query.view(rows, groups, -1, dim)  # heads of one group become queries beside others
    scores = torch.cat(
        (_over_rows(packed, prefix_keys[0].transpose(-1, -2)), packed @ keys.transpose(-1, -2)),
        dim=-1,
    )
    scores = scores * shape.scaling
    if shape.softcap is not None:
        scores = torch.tanh(scores / shape.softcap) * shape.softcap
    length = prefix_keys.shape[2]
    if mask is not None:
        scores[..., length:] = scores[..., length:].masked_fill(~mask, -torch.inf)
    if sinks is not None:
        sink = sinks.reshape(1, groups, -1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype)
    own_weights = weights[..., length : length + keys.shape[2]]
    output = _over_rows(weights[..., :length], prefix_values[0]) + own_weights @ values
    return output.reshape(rows, heads, 1, -1)


def _over_rows(left: Tensor, right: Tensor) -> Tensor:
    """left [B, groups, n, k] by right [groups, k, m], as one product for each group."""
    rows, groups, count, inner = left.shape
    packed = left.transpose(0, 1).reshape(groups, rows * count, inner)
    return (packed @ right).view(groups, rows, count, -1).transpose(0, 1)


def _attend_by_hand(
    shape: LayerShape,
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
) -> Tensor:
    """As `_attend`, with a soft cap on the scores or a sink in the softmax."""
    rows, heads, length, dim = query.shape
    grouped = query.reshape(rows, keys.shape[1], -1, length, dim)
    scores = (grouped @ keys.unsqueeze(2).transpose(-1, -2)) * shape.scaling
    if shape.softcap is not None:
        scores = torch.tanh(scores / shape.softcap) * shape.softcap
    if mask is None and length > 1:
        mask = causal_mask(length, shape.window, query.device, always=True)
    if mask is not None:
        scores = scores.masked_fill(~mask.unsqueeze(2), -torch.inf)
    if sinks is not None:  # one more score that draws weight and gives no value
        sink = sinks.reshape(1, keys.shape[1], -1, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, sink), dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(values.dtype)
    weights = weights[..., : keys.shape[2]]
    return (weights @ values.unsqueeze(2)).reshape(rows, heads, length, -1)
