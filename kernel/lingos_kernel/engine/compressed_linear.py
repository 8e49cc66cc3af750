"""Linear layers that keep their weights in few bits; one class for each format and kernel.

`Int8Linear` and `Int4Linear` run on every device; `DigitsInt8Linear` and `PackedInt4Linear` are
their faster kin on CPUs. `engine.compression` chooses.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class CompressedLinear(nn.Module):
    """What all formats share. The weight [out, in] is read once and not kept."""

    bias: Tensor | None
    is_batch_invariant = False
    """Whether a row is the same, bit for bit, whatever rows it is computed with."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        """`dtype`: of the bias and of what is computed."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.dtype = dtype
        self.register_buffer("bias", None if bias is None else bias.to(dtype))

    def forward(self, rows: Tensor) -> Tensor:
        """[..., in_features] to [..., out_features], in the dtype of the rows."""
        flat = rows.reshape(-1, self.in_features)
        shape = (*rows.shape[:-1], self.out_features)
        if not flat.shape[0]:
            return rows.new_empty(shape)
        output = self.product(flat).to(rows.dtype)
        if self.bias is not None:
            output = output + self.bias
        return output.view(shape)

    @classmethod
    def holds(cls, weight: Tensor) -> bool:  # noqa: ARG003 - for formats that cannot hold all
        """Whether the format can hold a weight of this shape."""
        return True

    @abstractmethod
    def product(self, rows: Tensor) -> Tensor:
        """[T, in_features] times the weights; [T, out_features] in any dtype."""

    @property
    def opaque_bytes(self) -> int:
        """Bytes of weights in a layout that only a kernel knows: in none of the buffers."""
        return 0

    @property
    def parameters_held(self) -> int:
        """How many numbers these weights stand for."""
        return self.in_features * self.out_features


def matrix_of(layer: Any) -> Tensor:
    """The weight of an nn.Linear or of GPT-2's transposed kind, as [out, in]."""
    weight: Tensor = layer.weight.detach()
    return weight if isinstance(layer, nn.Linear) else weight.t()
