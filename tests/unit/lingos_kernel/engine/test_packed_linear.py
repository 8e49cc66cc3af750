"""Linear layers in oneDNN's layout."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import nn

from lingos_kernel.engine.packed_linear import PackedLinear, pack_linears
from lingos_kernel.engine.weight_sizes import weight_bytes

pytestmark = pytest.mark.skipif(
    not pack_linears(nn.Sequential(nn.Linear(4, 4))), reason="this CPU has no packed products"
)


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


@torch.inference_mode()
def test_a_row_is_the_same_among_any_number_of_rows() -> None:
    """To the bit, with any number of threads."""
    layer = PackedLinear(nn.Linear(576, 200))
    inputs = torch.randn(130, 576)
    before = torch.get_num_threads()
    expected = layer(inputs)
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            for rows in (*range(4, 34), 64, 65, 129):
                assert torch.equal(layer(inputs[:rows].clone()), expected[:rows])
    finally:
        torch.set_num_threads(before)


def test_only_float32_layers_are_replaced() -> None:
    """Half-precision layers stay as they are."""
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16, dtype=torch.bfloat16))
    assert pack_linears(model) == 1
    assert isinstance(model[0], PackedLinear)
    assert isinstance(model[1], nn.Linear)


@torch.inference_mode()
def test_weights_are_there_once() -> None:
    """Packed, the plain ones go, unless an embedding table is the same memory."""
    model = nn.Sequential(nn.Embedding(30, 16), nn.Linear(16, 16), nn.Linear(16, 30))
    model[2].weight = model[0].weight
    expected = model(torch.tensor([[3, 4, 5, 6]]))
    plain = weakref.ref(model[1].weight)
    assert weight_bytes(model) == 4 * (30 * 16 + 16 * 16 + 16 + 30)
    pack_linears(model)
    torch.testing.assert_close(model(torch.tensor([[3, 4, 5, 6]])), expected)
    assert plain() is None
    assert model[2].weight is model[0].weight
    assert weight_bytes(model) == 4 * (2 * 30 * 16 + 16 * 16 + 16 + 30)
