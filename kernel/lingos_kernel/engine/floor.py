"""What no decode step can go below: reading the weights and the KV pages once."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

_ROUNDS = 3


def step_bytes(model: Any) -> int:
    """Bytes of weights that a decode step reads at the least.

    Of an embedding table of its own only a few rows are read, of experts those of one token.
    """
    config = model.config.get_text_config()
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    is_tied = head is None or head.weight.data_ptr() == table.data_ptr()
    share = _active_share(config)
    sizes: dict[int, float] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        size = tensor.numel() * tensor.itemsize
        sizes[tensor.data_ptr()] = size * share if ".experts." in f".{name}." else size
    if not is_tied:
        sizes.pop(table.data_ptr(), None)
    return int(sum(sizes.values()))


def largest_matrix(model: Any) -> Tensor:
    """The largest matrix of a model."""
    matrices: list[Tensor] = [tensor.detach() for tensor in model.parameters() if tensor.ndim == 2]
    return max(matrices, key=torch.numel)


@torch.inference_mode()
def memory_bandwidth(matrix: Tensor) -> float:
    """Bytes a second at which the device reads a matrix, by multiplying it with a vector."""
    vector = torch.ones(matrix.shape[1], dtype=matrix.dtype, device=matrix.device)
    best_s = float("inf")
    for _ in range(_ROUNDS):
        started_s = time.perf_counter()
        torch.mv(matrix, vector)
        if matrix.device.type == "cuda":
            torch.cuda.synchronize(matrix.device)
        best_s = min(best_s, time.perf_counter() - started_s)
    return matrix.numel() * matrix.itemsize / best_s


def _active_share(config: Any) -> float:
    """The part of the experts that one token passes through."""
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    experts = next((getattr(config, name) for name in names if getattr(config, name, None)), None)
    active = getattr(config, "num_experts_per_tok", None)
    return min(active / experts, 1.0) if experts and active else 1.0
