"""Linear layers in oneDNN's own memory layout, for float32 on CPUs.

On the CPUs where it is used, a product of few rows takes half the time: batches of 2 to 32
sequences decode up to twice as fast. The operators are torch's private ones (its compiler emits
them), so they are used here alone, and only where they are there and measured to be faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

_LEAST_WEIGHTS = 1 << 19
"""Smaller layers gain nothing, and lose with a single row."""
_TRIAL_ROWS = 8
_TRIAL_ROUNDS = 5
_WORTHWHILE = 0.8
"""Pack when the packed product takes no more than this part of the time."""


class PackedLinear(nn.Module):
    """An nn.Linear that packs its weights when it is first used."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = layer.weight
        self.bias = layer.bias
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self._packed: Tensor | None = None
        self._product = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        if not rows.numel():
            return linear(rows, self.weight, self.bias)
        if self._packed is None:
            self._packed = _pack(self.weight)
        output: Tensor = self._product(rows, self._packed, self.bias, "none", [], "")
        return output


def pack_linears(model: Any) -> int:
    """Replace a model's large linear layers where that is faster; returns how many."""
    layers = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear and _can_pack(layer)
    ]
    if not layers or not is_faster(min((layer for _, _, layer in layers), key=_size)):
        return 0
    for parent, name, layer in layers:
        setattr(parent, name, PackedLinear(layer))
    return len(layers)


@torch.inference_mode()
def is_faster(layer: nn.Linear) -> bool:
    """Whether a packed product of a few rows beats torch's own; takes some milliseconds."""
    rows = torch.ones(1, _TRIAL_ROWS, layer.in_features)
    packed = PackedLinear(layer)
    own_s, packed_s = float("inf"), float("inf")
    for _ in range(_TRIAL_ROUNDS):
        own_s = min(own_s, _seconds(layer, rows))
        packed_s = min(packed_s, _seconds(packed, rows))
    return packed_s <= _WORTHWHILE * own_s


def _can_pack(layer: nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.numel() >= _LEAST_WEIGHTS
        and bool(torch._C._has_mkldnn)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _TRIAL_ROWS)
    return packed


def _size(layer: nn.Linear) -> int:
    return layer.weight.numel()


def _seconds(product: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    started_s = time.perf_counter()
    product(rows)
    return time.perf_counter() - started_s
