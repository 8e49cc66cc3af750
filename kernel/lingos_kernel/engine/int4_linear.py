"""Weights in four bits: a scale and a middle for each 32 inputs of an output."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from lingos_kernel.engine.compressed_linear import CompressedLinear

GROUP = 32
"""Inputs that share a scale, as in Q4_1 files, whose weights so lie on the same grid."""
_LEVELS = 15
_MIDDLE = 8
_SHRINKS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Parts of a group's range that are tried: the loss of the extremes may be worth finer steps."""


def quantise_groups(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Levels 0 .. 15, int32 [out, in], and bfloat16 scales and middles [out, groups].

    A number is (level - 8) * scale + middle. Of several scales for a group, the one with the least
    square error is taken.
    """
    groups = matrix.float().reshape(matrix.shape[0], -1, GROUP)
    low, high = groups.amin(-1), groups.amax(-1)
    best: tuple[Tensor, ...] | None = None
    for shrink in _SHRINKS:
        scales = ((high - low) * (shrink / _LEVELS)).clamp_min(1e-30).bfloat16()
        middles = ((high + low) / 2 + scales.float() / 2).bfloat16()
        step, centre = scales.float()[..., None], middles.float()[..., None]
        levels = ((groups - centre) / step + _MIDDLE).round_().clamp_(0, _LEVELS)
        errors = ((levels - _MIDDLE) * step + centre - groups).square_().sum(-1)
        found = (errors, levels, scales, middles)
        best = found if best is None else _better(best, found)
    assert best is not None
    _, levels, scales, middles = best
    return levels.to(torch.int32).reshape(matrix.shape), scales, middles


def _better(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """For each group the one with the smaller error, which comes first."""
    is_other = other[0] < one[0]
    return tuple(
        torch.where(is_other[..., None] if a.ndim == 3 else is_other, b, a)
        for a, b in zip(one, other, strict=True)
    )


class Int4Linear(CompressedLinear):
    """Widens the weights for each product; runs on every device."""

    pairs: Tensor
    scales: Tensor
    middles: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(weight, bias, dtype)
        levels, scales, middles = quantise_groups(weight)
        pairs = levels.to(torch.uint8).view(len(levels), -1, 2)
        self.register_buffer("pairs", pairs[..., 0] | pairs[..., 1] << 4)
        self.register_buffer("scales", scales)
        self.register_buffer("middles", middles)

    @classmethod
    def holds(cls, weight: Tensor) -> bool:
        """Whole groups only."""
        return weight.shape[1] % GROUP == 0

    def product(self, rows: Tensor) -> Tensor:
        """The product with the weights of the moment."""
        return linear(rows, self.widened(rows.dtype))

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weights, [out, in]."""
        levels = torch.stack((self.pairs & 15, self.pairs >> 4), dim=-1)
        groups = levels.view(self.out_features, -1, GROUP).to(dtype) - _MIDDLE
        widened = groups * self.scales[..., None].to(dtype) + self.middles[..., None].to(dtype)
        return widened.view(self.out_features, self.in_features)


class PackedInt4Linear(CompressedLinear):
    """torch's kernel for CPUs, on rows in bfloat16."""

    is_batch_invariant = True
    packed: Tensor
    scales_and_middles: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__(weight, bias, dtype)
        levels, scales, middles = quantise_groups(weight)
        self.register_buffer("packed", torch._convert_weight_to_int4pack_for_cpu(levels, 1))
        pairs = torch.stack((scales, middles), dim=-1).transpose(0, 1).contiguous()
        self.register_buffer("scales_and_middles", pairs)

    @staticmethod
    def runs_on(device: torch.device) -> bool:
        """Whether this torch has the kernel for the device."""
        return device.type == "cpu" and hasattr(torch, "_weight_int4pack_mm_for_cpu")

    @classmethod
    def holds(cls, weight: Tensor) -> bool:
        """Whole groups, and outputs in sixteens, as the kernel wants them."""
        return weight.shape[1] % GROUP == 0 and weight.shape[0] % 16 == 0

    def product(self, rows: Tensor) -> Tensor:
        """[T, in] to bfloat16 [T, out]."""
        return torch._weight_int4pack_mm_for_cpu(
            rows.to(torch.bfloat16), self.packed, GROUP, self.scales_and_middles
        )
