"""What no decode step can go below: reading the weights and the KV pages once."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from lingos_kernel.engine.weight_sizes import stored_bytes, table_keys

_ROUNDS = 3
_SIDE = 4096
"""Of a matrix that no cache holds."""


def step_bytes(model: Any) -> int:
    """Bytes of weights that a decode step reads at the least.

    Of an embedding table of its own only a few rows are read, of experts those of one token.
    """
    share = _active_share(model.config.get_text_config())
    unread = table_keys(model)
    return int(
        sum(
            size * share if ".experts." in f".{name}." else size
            for key, (name, size) in stored_bytes(model).items()
            if key not in unread
        )
    )


def largest_matrix(model: Any) -> Tensor:
    """The largest matrix of a model; one of its own where all are compressed."""
    matrices: list[Tensor] = [tensor.detach() for tensor in model.parameters() if tensor.ndim == 2]
    if not matrices:
        return torch.ones(_SIDE, _SIDE, device=model.device)
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
