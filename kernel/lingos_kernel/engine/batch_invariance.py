"""A model made to compute a token to the same bits, whatever is computed beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lingos_kernel.engine.compressed_linear import CompressedLinear
from lingos_kernel.engine.kv_cache import LayerShape
from lingos_kernel.engine.packed_linear import PackedLinear, pack_linears
from lingos_kernel.engine.segment_attention import SegmentBackend, attend_segment
from lingos_kernel.engine.segment_index import SEGMENT_SLOTS
from lingos_kernel.engine.steady_activations import replace_activations

_TRIAL_ROWS = (4, 5, 7, 12, 33)
"""Numbers of rows that products are known to part ways at, where they do."""


def make_batch_invariant(model: Any, shapes: Sequence[LayerShape]) -> bool:
    """Replace what of a model can be replaced; whether all of it is batch-invariant then.

    `shapes`: of the layers that attend over pages; without any (an encoder) it is not. It is on
    CPUs, for float32 and for compressed weights with kernels of their own, if a trial of some
    milliseconds finds no difference. It is not with experts, since each computes the rows that
    chose it; with layers that are no nn.Linear; with soft caps and sinks.
    """
    pack_linears(model)
    if not (shapes and SegmentBackend.can_serve(model.device, shapes)):
        return False
    is_steady = replace_activations(model)
    modules = list(model.modules())
    return is_steady and all(map(_is_invariant, modules)) and _agree(modules, shapes)


def _is_invariant(module: nn.Module) -> bool:
    """Whether a module's own weights are read in a way that is."""
    if isinstance(module, CompressedLinear):
        return module.is_batch_invariant
    if isinstance(module, PackedLinear | nn.Embedding):
        return True
    return all(parameter.ndim < 2 for parameter in module.parameters(recurse=False))


@torch.inference_mode()
def _agree(modules: Iterable[nn.Module], shapes: Sequence[LayerShape]) -> bool:
    """Whether it is so on this CPU: the smallest layer of each kind, and one segment."""
    kinds: dict[type[nn.Module], CompressedLinear | PackedLinear] = {}
    for module in modules:
        if isinstance(module, CompressedLinear | PackedLinear):
            best = kinds.setdefault(type(module), module)
            if module.in_features * module.out_features < best.in_features * best.out_features:
                kinds[type(module)] = module
    return all(map(_rows_agree, kinds.values())) and _segments_agree(shapes[0])


def _rows_agree(layer: CompressedLinear | PackedLinear) -> bool:
    rows = _numbers(max(_TRIAL_ROWS), layer.in_features)
    expected = layer(rows)
    return all(torch.equal(layer(rows[:count]), expected[:count]) for count in _TRIAL_ROWS)


def _segments_agree(shape: LayerShape) -> bool:
    query = _numbers(1, shape.kv_heads, 64, shape.key_dim)
    keys = _numbers(1, shape.kv_heads, SEGMENT_SLOTS, shape.key_dim)
    mask = torch.zeros(1, 1, 64, SEGMENT_SLOTS)
    mask[..., 40:] = -torch.inf
    expected = attend_segment(shape, query, keys, keys, mask)
    for count, slots in ((4, SEGMENT_SLOTS), (4, 48), (36, 64)):
        near = keys[:, :, :slots]
        found = attend_segment(shape, query[:, :, :count], near, near, mask[..., :count, :slots])
        if not all(torch.equal(f, e[:, :, :count]) for f, e in zip(found, expected, strict=True)):
            return False
    return True


def _numbers(*size: int) -> Tensor:
    """As if random; the generator of torch is the program's."""
    return torch.arange(torch.Size(size).numel(), dtype=torch.float32).mul_(1.7).sin_().view(size)
