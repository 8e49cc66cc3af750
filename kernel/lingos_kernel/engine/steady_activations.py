"""Activations that give a number the same result wherever it lies in a tensor.

torch's own compute the numbers that are left over at the end of a thread's part in another way than
those before them, and where parts end depends on the rows and on the threads. Its exponential, tanh
and error function do not, and the rest is exact rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import activations


class SteadySiLU(nn.Module):
    """x / (1 + exp(-x)), number by number."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape."""
        return numbers / torch.neg(numbers).exp_().add_(1)


class SteadyGELU(nn.Module):
    """x (1 + erf(x / sqrt 2)) / 2, number by number."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape."""
        return torch.erf(numbers * math.sqrt(0.5)).add_(1).mul_(numbers).mul_(0.5)


class SteadyGELUTanh(nn.Module):
    """GELU with tanh for the error function (Hendrycks and Gimpel 2016), number by number."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Any shape."""
        inner = numbers * numbers
        inner.mul_(numbers).mul_(0.044715).add_(numbers).mul_(math.sqrt(2 / math.pi))
        return inner.tanh_().add_(1).mul_(numbers).mul_(0.5)


STEADY: dict[type[nn.Module], type[nn.Module]] = {
    nn.SiLU: SteadySiLU,
    activations.SiLUActivation: SteadySiLU,
    activations.GELUActivation: SteadyGELU,
    activations.GELUTanh: SteadyGELUTanh,
}
_UNSTEADY = (
    nn.GELU,
    *{entry[0] if isinstance(entry, tuple) else entry for entry in activations.ACT2CLS.values()},
)
_HARMLESS = (nn.ReLU, nn.Identity)


def replace_activations(model: Any) -> bool:
    """Make a model's activation modules steady, in place; whether none is left that is not.

    An activation that the model calls as a function is not seen.
    """
    is_steady = True
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if kind := STEADY.get(type(child)):
                setattr(parent, name, kind())
            elif isinstance(child, _UNSTEADY) and not isinstance(child, _HARMLESS):
                is_steady = False
    return is_steady
