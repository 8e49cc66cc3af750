"""Weights in eight bits: one scale for each output, symmetric."""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lingos_kernel.engine.compressed_linear import CompressedLinear

_STEPS = 127
_ROW_STEPS = 127 * 256
"""Steps to a row's largest number."""
_MIDDLE = 128
"""The kernel takes unsigned digits and subtracts this zero point itself."""
_LIFT = _MIDDLE * 256 + _MIDDLE
"""Added to -_ROW_STEPS .. _ROW_STEPS it makes 16 unsigned bits, whose bytes are the digits."""


def quantise_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """int8 [out, in] and float32 scales [out] of which the matrix is the product, nearly."""
    matrix = matrix.float().contiguous()  # kernels take no strides
    scales = (matrix.abs().amax(1) / _STEPS).clamp_min(torch.finfo(torch.float32).tiny)
    return (matrix / scales[:, None]).round_().to(torch.int8), scales


class Int8Linear(CompressedLinear):
    """Widens the weights for each product; runs on every device."""

    levels: Tensor
    scales: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(weight, bias, dtype)
        levels, scales = quantise_rows(weight)
        self.register_buffer("levels", levels)
        self.register_buffer("scales", scales.to(dtype))

    def product(self, rows: Tensor) -> Tensor:
        """The levels are exact in every float type; the scales come after the sum."""
        return linear(rows, self.levels.to(rows.dtype)) * self.scales


class DigitsInt8Linear(CompressedLinear):
    """Integer products on CPUs with VNNI, by oneDNN.

    Each row is rounded to 16 bits of its own largest number and split into two digits of 8 bits,
    which become two rows of integers. Sums of integers are exact in any order, so a row's result
    is the same bit for bit whatever rows it is computed with. (With one digit, kernels are half as
    long, but perplexity rises by 2 %.) The operators are torch's private ones: its compiler emits
    them.
    """

    is_batch_invariant = True
    scales: Tensor
    _zeros: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(weight, bias, dtype)
        levels, scales = quantise_rows(weight)
        self.register_buffer("scales", scales)
        self.register_buffer("_zeros", torch.zeros(len(levels), dtype=torch.int32))
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(levels, None)

    @staticmethod
    def runs_on(device: torch.device) -> bool:
        """Whether the device has the instructions: without them the sums saturate."""
        return (
            device.type == "cpu"
            and torch.cpu._is_vnni_supported()
            and sys.byteorder == "little"
            and hasattr(torch.ops.onednn, "qlinear_prepack")
        )

    def product(self, rows: Tensor) -> Tensor:
        """[T, in] as [2 T, in] of digits, so that the weights are read once."""
        rows = rows.float()
        tiny = torch.finfo(torch.float32).tiny
        steps = rows.abs().amax(1, keepdim=True).mul_(1 / _ROW_STEPS).clamp_min_(tiny)
        lifted = (rows / steps).add_(_LIFT).round_().to(torch.uint16)
        pairs = lifted.view(torch.uint8).view(*rows.shape, 2)  # the lower digit first
        digits = pairs.permute(2, 0, 1).reshape(-1, self.in_features)
        sums: Tensor = torch.ops.onednn.qlinear_pointwise(
            digits, 1.0, _MIDDLE, self._packed, self.scales, self._zeros, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        lower, upper = sums.chunk(2)
        return torch.add(lower, upper, alpha=256).mul_(steps)

    @property
    def opaque_bytes(self) -> int:
        """One byte for each weight."""
        return self.parameters_held


class Int8Embedding(nn.Module):
    """A table of vectors in eight bits each number: one scale for each row."""

    levels: Tensor
    scales: Tensor

    def __init__(self, table: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = table.shape
        self.dtype = dtype
        levels, scales = quantise_rows(table)
        self.register_buffer("levels", levels)
        self.register_buffer("scales", scales[:, None].to(dtype))

    def forward(self, ids: Tensor) -> Tensor:
        """ids [...] to vectors [..., embedding_dim]."""
        return self.levels[ids].to(self.dtype) * self.scales[ids]
