"""Attention whose result for a query does not depend on what is computed beside it.

A sum of floating-point numbers depends on its order, and libraries choose the order by the shape
of the whole product. So keys are cut into segments at fixed positions, each query attends to every
segment by itself (torch's flash kernel for CPUs, whose order is one and the same for these shapes),
and the parts are put together by their log-sum-exp, first to last. What a query does not see adds
an exact zero. Whether a token is computed in a prompt, alone or in a batch, with pages that others
read too or by itself, anew or for the first time: the bits are the same.

The decomposition is that of Flash-Decoding (Dao et al. 2023) with segments of fixed size, as in
Thinking Machines' *Defeating Nondeterminism in LLM Inference* (He et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.functional import pad

from lingos_kernel.engine.batch import PackedBatch
from lingos_kernel.engine.kv_cache import LayerShape, LayerStore
from lingos_kernel.engine.segment_index import (
    QUERY_ROWS,
    SEGMENT_PAGES,
    SEGMENT_SLOTS,
    QueryRun,
    SegmentGroup,
    SegmentIndex,
    SegmentSpan,
)


class SegmentBackend:
    """For float32 on CPUs, without soft caps and sinks; see `can_serve`."""

    def __init__(self, shapes: Iterable[LayerShape]) -> None:
        self._kinds = {_kind(shape) for shape in shapes}
        self._slots: Tensor | None = None
        self._indices: dict[tuple[int | None, int], SegmentIndex] = {}

    @staticmethod
    def can_serve(device: torch.device, shapes: Iterable[LayerShape]) -> bool:
        """Whether all layers are of the kind that this computes."""
        return (
            device.type == "cpu"
            and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
            and all(
                shape.dtype == torch.float32
                and shape.key_dim == shape.value_dim
                and shape.softcap is None
                and not shape.has_sinks
                for shape in shapes
            )
        )

    def prepare(self, batch: PackedBatch) -> None:
        """As `AttentionBackend.prepare`."""
        self._slots = batch.slots
        self._indices = {kind: SegmentIndex.of(batch, *kind) for kind in self._kinds}

    def attend(
        self,
        shape: LayerShape,
        cache: LayerStore,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        sinks: Tensor | None,
    ) -> Tensor:
        """As `AttentionBackend.attend`; there are no sinks."""
        assert self._slots is not None
        assert sinks is None
        cache.write(self._slots, key, value)
        index = self._indices[_kind(shape)]
        # Query heads that share a key head become rows of one product.
        query = query.view(len(query), shape.kv_heads, -1, shape.key_dim)
        outputs = [_attend_group(shape, cache, query, group) for group in index.groups]
        outputs += [_attend_span(shape, cache, query, span) for span in index.spans]
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return output.flatten(1, 2)


def _kind(shape: LayerShape) -> tuple[int | None, int]:
    """The window, and how many query heads share a key head."""
    return shape.window, shape.query_heads // shape.kv_heads


def _attend_group(
    shape: LayerShape, cache: LayerStore, query: Tensor, group: SegmentGroup
) -> Tensor:
    """[rows, kv_heads, heads of each, dim]"""
    rows, segments = group.rows, group.segments
    query = query[group.first : group.first + rows]
    heads = query.shape[2]
    keys, values = (_cut(t, rows * segments) for t in cache.gather(group.pages, rows))
    own = pad(query, (0, 0, 0, -heads % QUERY_ROWS))[:, None].expand(-1, segments, -1, -1, -1)
    output, sums = attend_segment(shape, own.flatten(0, 1), keys, values, group.mask)
    outputs = output.view(rows, segments, *output.shape[1:])[..., :heads, :].transpose(0, 1)
    lse = sums.view(rows, segments, *sums.shape[1:])[..., :heads].transpose(0, 1)
    if group.unseen is not None:
        lse = lse + group.unseen
    if group.prefix is None:
        return _merge(outputs, lse)
    count = len(group.prefix) // SEGMENT_PAGES
    keys, values = (_cut(t, count) for t in cache.gather(group.prefix, 1))
    all_rows = query.transpose(0, 1).flatten(1, 2)  # [kv_heads, rows * heads, dim]
    packed = pad(all_rows, (0, 0, 0, -all_rows.shape[1] % QUERY_ROWS)).expand(count, -1, -1, -1)
    output, sums = attend_segment(shape, packed, keys, values, None)
    of_rows = (count, -1, rows, heads)
    shared = output[:, :, : rows * heads].reshape(*of_rows, shape.key_dim).transpose(1, 2)
    shared_lse = sums[:, :, : rows * heads].reshape(of_rows).transpose(1, 2)
    return _merge(torch.cat((shared, outputs)), torch.cat((shared_lse, lse)))


def _attend_span(shape: LayerShape, cache: LayerStore, query: Tensor, span: SegmentSpan) -> Tensor:
    """[length, kv_heads, heads of each, dim]"""
    keys, values = cache.gather(span.pages, 1)
    query = query[span.offset : span.offset + span.length]
    outputs = [
        _attend_run(shape, keys, values, query[run.first : run.first + run.length], run)
        for run in span.runs
    ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _attend_run(
    shape: LayerShape, keys: Tensor, values: Tensor, query: Tensor, run: QueryRun
) -> Tensor:
    """[run.length, kv_heads, heads of each, dim]"""
    length, groups, heads, dim = query.shape
    packed = query.transpose(0, 1).flatten(1, 2)  # [kv_heads, length * heads, dim]
    rows, whole = packed.shape[1], run.whole
    outputs = packed.new_zeros(whole + len(run.near), *packed.shape)
    lse = packed.new_full(outputs.shape[:-1], -torch.inf)
    if whole:
        past = slice(0, whole * SEGMENT_SLOTS)
        padded = pad(packed, (0, 0, 0, -rows % QUERY_ROWS)).expand(whole, -1, -1, -1)
        past_keys, past_values = _cut(keys[:, :, past], whole), _cut(values[:, :, past], whole)
        output, sums = attend_segment(shape, padded, past_keys, past_values, None)
        outputs[:whole], lse[:whole] = output[:, :, :rows], sums[:, :, :rows]
    for number, segment in enumerate(run.near, whole):
        here = slice(segment.begin * heads, segment.end * heads)
        some = packed[:, here]
        spare = (0, 0, 0, -some.shape[1] % QUERY_ROWS)
        mask = None if segment.mask is None else pad(segment.mask, spare)[None, None]
        near = slice(segment.first, segment.first + segment.slots)
        padded = pad(some, spare)[None]
        output, sums = attend_segment(shape, padded, keys[:, :, near], values[:, :, near], mask)
        outputs[number, :, here] = output[0, :, : some.shape[1]]
        lse[number, :, here] = sums[0, :, : some.shape[1]]
    return _merge(outputs, lse).view(groups, length, heads, dim).transpose(0, 1)


def _cut(gathered: Tensor, parts: int) -> Tensor:
    """Keys or values [rows, kv_heads, slots, dim] of all rows as [parts, kv_heads, ..., dim]."""
    groups, dim = gathered.shape[1], gathered.shape[3]
    return gathered.transpose(1, 2).reshape(parts, -1, groups, dim).transpose(1, 2)


def attend_segment(
    shape: LayerShape, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention of query [B, kv_heads, n, dim] within one segment, and its log-sum-exp [B, ., n].

    n is a multiple of `QUERY_ROWS`; keys and values are [B, kv_heads, slots, dim], and their slots,
    whole pages, a multiple of 16.
    """
    output, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, keys, values, attn_mask=mask, scale=shape.scaling
    )
    return output, lse


def _merge(outputs: Tensor, lse: Tensor) -> Tensor:
    """One output [..., dim] of those of S segments [S, ..., dim], with lse [S, ...].

    Added one by one, since a sum over a dimension is taken in an order that depends on its length.
    The outputs are used up.
    """
    if len(outputs) == 1:
        return outputs[0]
    weights = (lse - lse.amax(0)).exp_()
    outputs.mul_(weights[..., None])
    output, total = outputs[0], weights[0]
    for more, weight in zip(outputs[1:], weights[1:], strict=True):
        output.add_(more)
        total.add_(weight)
    return output.div_(total[..., None])
