"""A model made to compute a token to the same bits, whatever is computed beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from lingos_kernel.engine.compressed_linear import CompressedLinear
from lingos_kernel.engine.kv_cache import LayerShape
from lingos_kernel.engine.packed_linear import PackedLinear, pack_linears
from lingos_kernel.engine.segment_attention import SegmentBackend
from lingos_kernel.engine.steady_activations import steady_activations


def make_batch_invariant(model: Any, shapes: Sequence[LayerShape]) -> bool:
    """Replace what of a model can be replaced; whether all of it is batch-invariant then.

    `shapes`: of the layers that attend over pages; without any (an encoder) it is not. It is on
    CPUs, for float32 and for compressed weights with kernels of their own. It is not with experts,
    since each computes the rows that chose it; with layers that are no nn.Linear; with soft caps
    and sinks.
    """
    pack_linears(model)
    if not (shapes and SegmentBackend.can_serve(model.device, shapes)):
        return False
    return steady_activations(model) and all(map(_is_invariant, model.modules()))


def _is_invariant(module: nn.Module) -> bool:
    """Whether a module's own weights are read in a way that is."""
    if isinstance(module, CompressedLinear):
        return module.is_batch_invariant
    if isinstance(module, PackedLinear | nn.Embedding):
        return True
    return all(parameter.ndim < 2 for parameter in module.parameters(recurse=False))
