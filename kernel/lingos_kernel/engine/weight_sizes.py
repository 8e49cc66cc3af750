"""How many bytes a model's weights take, whatever format they are in."""

from __future__ import annotations

from typing import Any

from lingos_kernel.engine.compressed_linear import CompressedLinear
from lingos_kernel.engine.packed_linear import PackedLinear


def stored_bytes(model: Any) -> dict[int, tuple[str, int]]:
    """What is stored: a key for the memory, to its name in the model and its bytes.

    Tied weights occur once, and once more where they are packed for the head.
    """
    tensors = (*model.named_parameters(), *model.named_buffers())
    stored = {t.data_ptr(): (name, t.numel() * t.itemsize) for name, t in tensors if t.numel()}
    for name, layer in model.named_modules():
        if isinstance(layer, CompressedLinear | PackedLinear) and layer.opaque_bytes:
            stored[id(layer)] = (name, layer.opaque_bytes)
    return stored


def weight_bytes(model: Any) -> int:
    """Bytes of all that is stored."""
    return sum(size for _, size in stored_bytes(model).values())


def table_keys(model: Any) -> set[int]:
    """The memory of the input table, unless the head is the same."""
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    keys = {tensor.data_ptr() for tensor in (*table.parameters(), *table.buffers())}
    if head is None:
        return set()
    return keys - {tensor.data_ptr() for tensor in (*head.parameters(), *head.buffers())}
