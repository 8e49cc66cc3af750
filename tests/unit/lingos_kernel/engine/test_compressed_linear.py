"""Linear layers in few bits: how near they come, and what does not change a row's result."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lingos_kernel.engine.compressed_linear import CompressedLinear, matrix_of
from lingos_kernel.engine.int4_linear import Int4Linear, PackedInt4Linear, quantise_groups
from lingos_kernel.engine.int8_linear import DigitsInt8Linear, Int8Embedding, Int8Linear

CPU = torch.device("cpu")
KINDS: dict[type[CompressedLinear], float] = {
    Int8Linear: 0.01,
    DigitsInt8Linear: 0.01,
    Int4Linear: 0.1,
    PackedInt4Linear: 0.1,
}
"""With the relative error that each may make on random weights."""
EXACT = [DigitsInt8Linear, PackedInt4Linear]


def made(kind: type[CompressedLinear], *, bias: bool = True) -> tuple[CompressedLinear, nn.Linear]:
    """A compressed layer and the one that it was made of."""
    runs_on = getattr(kind, "runs_on", None)
    if runs_on and not runs_on(CPU):
        pytest.skip(f"{kind.__name__} does not run on this CPU")
    torch.manual_seed(1)
    layer = nn.Linear(96, 48, bias=bias).requires_grad_(False)
    return kind(layer.weight, layer.bias, torch.float32), layer


def error(found: Tensor, expected: Tensor) -> float:
    """Relative to what is expected, over all numbers."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
def test_comes_near_what_the_layer_gives(kind: type[CompressedLinear], bias: bool) -> None:
    """Rows of very different size each come as near as the format can."""
    compressed, layer = made(kind, bias=bias)
    rows = torch.randn(2, 3, 96) * torch.tensor([1e-3, 1.0, 1e3])[:, None]
    assert error(compressed(rows)[:, 1:], layer(rows)[:, 1:]) < KINDS[kind]
    assert compressed(rows).shape == (2, 3, 48)


@pytest.mark.parametrize("kind", KINDS)
def test_takes_any_rows(kind: type[CompressedLinear]) -> None:
    """None, zeros, not contiguous, and in half precision."""
    compressed, layer = made(kind)
    assert compressed(torch.zeros(1, 0, 96)).shape == (1, 0, 48)
    torch.testing.assert_close(compressed(torch.zeros(2, 96)), layer.bias.expand(2, 48))
    mixed = torch.randn(96, 3, 2).permute(2, 1, 0)
    assert error(compressed(mixed), layer(mixed)) < KINDS[kind]
    half = kind(layer.weight.bfloat16(), layer.bias, torch.bfloat16)
    output = half(mixed.bfloat16())
    assert output.dtype == torch.bfloat16
    assert error(output.float(), layer(mixed)) < KINDS[kind] + 0.01


@pytest.mark.parametrize("kind", EXACT)
def test_a_row_is_the_same_bit_for_bit_in_any_batch(kind: type[CompressedLinear]) -> None:
    """Alone and among 1 to 39 others."""
    compressed, _ = made(kind)
    rows = torch.randn(40, 96)
    alone = torch.cat([compressed(row[None]) for row in rows])
    for count in (2, 3, 5, 8, 16, 17, 40):
        assert torch.equal(compressed(rows[:count]), alone[:count])


def test_digits_lose_nothing_beside_the_weights() -> None:
    """Rows in two digits give what rows in float32 give."""
    digits, layer = made(DigitsInt8Linear)
    wide = Int8Linear(layer.weight, layer.bias, torch.float32)
    rows = torch.randn(9, 96)
    assert error(digits(rows), wide(rows)) < 1e-4


def test_both_kinds_of_four_bits_hold_the_same_weights() -> None:
    """The packed layout and the portable one differ by the rounding of rows alone."""
    packed, layer = made(PackedInt4Linear, bias=False)
    portable = Int4Linear(layer.weight, None, torch.float32)
    rows = torch.randn(5, 96).bfloat16().float()
    assert error(packed(rows), linear(rows, portable.widened(torch.float32))) < 0.01


def test_weights_on_a_grid_of_sixteen_levels_lose_nothing() -> None:
    """Groups of 32 that were in four bits before (as in Q4_1 files) come back."""
    levels = torch.arange(16).repeat(3, 12).float()[:, :96]
    layer = Int4Linear(levels * 0.25 - 1, None, torch.float32)
    torch.testing.assert_close(layer.widened(torch.float32), levels * 0.25 - 1)
    assert quantise_groups(torch.zeros(2, 32))[0].shape == (2, 32)


def test_an_embedding_gives_its_rows() -> None:
    """Each row to within a step of its own."""
    table = torch.randn(50, 32) * torch.logspace(-3, 3, 50)[:, None]
    ids = torch.tensor([[0, 49], [7, 7]])
    found = Int8Embedding(table, torch.float32)(ids)
    assert bool(((found - table[ids]).abs() <= table[ids].abs().amax(-1, True) / 250).all())


@pytest.mark.parametrize("kind", KINDS)
def test_takes_few_bytes(kind: type[CompressedLinear]) -> None:
    """A byte for each weight, or five bits, and the scales."""
    compressed, layer = made(kind, bias=False)
    held = sum(buffer.numel() * buffer.itemsize for buffer in compressed.buffers())
    per_weight = (held + compressed.opaque_bytes) / layer.weight.numel()
    assert per_weight <= (1.1 if "Int8" in kind.__name__ else 0.63)
    assert compressed.parameters_held == layer.weight.numel()


@pytest.mark.parametrize("kind", KINDS)
def test_the_transposed_kind_is_read_the_right_way(kind: type[CompressedLinear]) -> None:
    """GPT-2's layers keep [in, out]."""
    from transformers.pytorch_utils import Conv1D

    made(kind)  # skips where it does not run
    layer = Conv1D(48, 96).requires_grad_(False)
    compressed = kind(matrix_of(layer), layer.bias, torch.float32)
    rows = torch.randn(4, 96)
    assert error(compressed(rows), layer(rows)) < KINDS[kind]
