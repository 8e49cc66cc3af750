"""Weights in fewer bits: which layers, in which class, without a second copy of the model.

Linear layers are replaced one by one, and what a layer had in float is free before the next one.
The input table, the output head, and layers whose shape no group fits take eight bits in every
format. Experts in one tensor stay as they are, and so do routers, whose choices must not flip.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from lingos_kernel.engine.compressed_linear import CompressedLinear, matrix_of
from lingos_kernel.engine.int4_linear import Int4Linear, PackedInt4Linear
from lingos_kernel.engine.int8_linear import DigitsInt8Linear, Int8Embedding, Int8Linear
from lingos_kernel.engine.messages import WeightFormat
from lingos_kernel.models.loader import load_causal, parameter_count

_ROUTERS = frozenset({"gate", "router", "shared_expert_gate"})


def load_compressed(
    path: Path, weight_format: WeightFormat, *, device: torch.device, dtype: torch.dtype
) -> tuple[Any, int]:
    """A causal model from a folder with compressed weights, and how many parameters it has.

    What stays in float is of `dtype`. The weights are read in the type that they have on disk,
    into host memory. Raises as `models.loader.load_causal`.
    """
    model = load_causal(path, device=torch.device("cpu"), dtype=None)
    parameters = parameter_count(model)
    compress(model, weight_format, device=device, dtype=dtype)
    return _finished(model, device=device, dtype=dtype), parameters


def _finished(model: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
    """What stays in float as `dtype`; buffers keep their type: scales, rotary frequencies.

    All are copied: one tensor that still lies in the mapped file would keep all of it mapped.
    """
    on_disk = model.dtype
    for parameter in model.parameters():
        wanted = dtype if parameter.dtype == on_disk else parameter.dtype
        parameter.data = parameter.data.to(device=device, dtype=wanted, copy=True)
    return model.to(device)


@torch.inference_mode()
def compress(
    model: Any, weight_format: WeightFormat, *, device: torch.device, dtype: torch.dtype
) -> None:
    """Replace the layers of a model in place."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    for parent, name, layer in list(_layers(model)):
        if layer is not head:
            setattr(parent, name, _compressed(layer, weight_format, device, dtype))
            layer.weight = None  # the list holds all layers, but no longer the weights of this one
    _compress_ends(model, head, table, device=device, dtype=dtype)


def linear_class(weight_format: WeightFormat, device: torch.device) -> type[CompressedLinear]:
    """The class that computes a format on a device."""
    if weight_format == "int8":
        return DigitsInt8Linear if DigitsInt8Linear.runs_on(device) else Int8Linear
    return PackedInt4Linear if PackedInt4Linear.runs_on(device) else Int4Linear


def _compress_ends(
    model: Any, head: Any, table: Any, *, device: torch.device, dtype: torch.dtype
) -> None:
    """The head and the table, tied or not; a table of a kind of its own (scaled) stays."""
    is_plain = type(table) is nn.Embedding
    is_tied = head is not None and head.weight.data_ptr() == table.weight.data_ptr()
    if head is not None and (is_plain or not is_tied):
        model.set_output_embeddings(_compressed(head, "int8", device, dtype))
    if is_plain:
        model.set_input_embeddings(Int8Embedding(table.weight.detach().to(device), dtype))


def _compressed(
    layer: Any, weight_format: WeightFormat, device: torch.device, dtype: torch.dtype
) -> CompressedLinear:
    weight = matrix_of(layer)
    kind = linear_class(weight_format, device)
    if not kind.holds(weight):
        kind = linear_class("int8", device)
    bias = None if layer.bias is None else layer.bias.detach().to(device)
    return kind(weight.to(device), bias, dtype)


def _layers(model: Any) -> Iterator[tuple[nn.Module, str, Any]]:
    for parent in model.modules():
        for name, layer in parent.named_children():
            if type(layer) in (nn.Linear, Conv1D) and name not in _ROUTERS:
                yield parent, name, layer
