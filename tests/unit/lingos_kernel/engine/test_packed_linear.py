"""Linear layers in oneDNN's layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lingos_kernel.engine import packed_linear
from lingos_kernel.engine.packed_linear import PackedLinear, is_faster, pack_linears


@pytest.mark.parametrize("rows", [(1, 1), (1, 8), (2, 3), (1, 0), (5,)])
@pytest.mark.parametrize("bias", [True, False])
def test_gives_what_the_layer_gives(rows: tuple[int, ...], bias: bool) -> None:
    """Any number of rows, none included, in any shape."""
    layer = nn.Linear(24, 40, bias=bias)
    inputs = torch.randn(*rows, 24)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(layer)(inputs), layer(inputs))


def test_takes_inputs_that_are_not_contiguous() -> None:
    """A transposed input is read as it is meant."""
    layer = nn.Linear(24, 40)
    inputs = torch.randn(24, 3, 2).permute(2, 1, 0)
    with torch.inference_mode():
        torch.testing.assert_close(PackedLinear(layer)(inputs), layer(inputs))


def test_only_large_float32_layers_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small and half-precision layers stay as they are; so do all where it is not faster."""
    model = nn.Sequential(
        nn.Linear(1024, 1024), nn.Linear(16, 16), nn.Linear(1024, 1024, dtype=torch.bfloat16)
    )
    monkeypatch.setattr(packed_linear, "is_faster", lambda layer: False)
    assert pack_linears(model) == 0
    monkeypatch.setattr(packed_linear, "is_faster", lambda layer: True)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert pack_linears(model) == 1
    assert isinstance(model[0], PackedLinear)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_trial_is_decided_by_time() -> None:
    """The trial runs both and answers yes or no."""
    assert is_faster(nn.Linear(1024, 1024)) in (True, False)
