"""Linear layers in oneDNN's own memory layout, for float32 on CPUs.

Two things are gained. A row's result does not depend on how many rows there are (from
`segment_index.QUERY_ROWS` on) or on the number of threads: BLAS cuts the rows among its threads and
sums short cuts in another order. And a product of few rows takes about half the time. The operators
are torch's private ones (its compiler emits them), so they are used here alone, and only where they
are there.
"""

from __future__ import annotations

import platform
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

_EXPECTED_ROWS = 8
"""The layout is chosen for so many; it serves any number."""
_X86 = ("x86_64", "AMD64")


class PackedLinear(nn.Module):
    """An nn.Linear whose weights are packed."""

    def __init__(self, layer: nn.Linear, *, keeps_weight: bool = False) -> None:
        """`keeps_weight`: the plain weights stay, since they are somebody else's, too."""
        super().__init__()
        self.weight = layer.weight if keeps_weight else None
        self.bias = layer.bias
        self.in_features = layer.in_features
        self.out_features = layer.out_features
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(
            layer.weight.detach(), _EXPECTED_ROWS
        )
        self._product = torch.ops.mkldnn._linear_pointwise.default

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        if not rows.numel():
            return rows.new_zeros(*rows.shape[:-1], self.out_features)
        output: Tensor = self._product(rows, self._packed, self.bias, "none", [], "")
        return output

    @property
    def opaque_bytes(self) -> int:
        """Bytes of the packed weights, which are in no parameter."""
        return self.in_features * self.out_features * torch.float32.itemsize


@torch.inference_mode()
def pack_linears(model: Any) -> int:
    """Replace a model's linear layers where that can be; returns how many.

    Plain weights go as soon as they are packed, unless an embedding table is the same memory.
    """
    layers = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear and _can_pack(layer)
    ]
    owners = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
    )
    count = len(layers)
    while layers:  # each layer is let go before the next one is packed
        parent, name, layer = layers.pop()
        setattr(parent, name, PackedLinear(layer, keeps_weight=owners[id(layer.weight)] > 1))
    return count


def _can_pack(layer: nn.Linear) -> bool:
    weight = layer.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and platform.machine() in _X86
        and bool(torch._C._has_mkldnn)
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )
