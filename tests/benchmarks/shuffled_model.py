"""A model that computes the same as another one, with its weights in another order.

Weights from a file in four bits lie on a grid in groups of neighbours, which a format of the same
groups finds again without loss. Here the channels of the hidden states, of the feed-forward layers
and of each head's values are shuffled, in all layers alike, so that the function stays and
neighbours do not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig

_FROM_HIDDEN = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
_TO_HIDDEN = ("o_proj", "down_proj")
_NORMS = ("input_layernorm", "post_attention_layernorm", "norm")


class Shuffle:
    """Which channel comes where; the same in all layers."""

    def __init__(self, hidden: int, inner: int, head_dim: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self._hidden, self._inner, self._head = (
            torch.randperm(size, generator=generator) for size in (hidden, inner, head_dim)
        )

    def __call__(self, name: str, weight: Tensor) -> Tensor:
        """A weight of Llama's layout, by its name. Raises ValueError for any other."""
        kind, suffix = name.split(".")[-2:]
        if suffix != "weight" or kind not in (*_FROM_HIDDEN, *_TO_HIDDEN, *_NORMS):
            raise ValueError(f"{name} is not of Llama's layout")
        weight = weight[:, self._hidden] if kind in _FROM_HIDDEN else weight[self._hidden]
        if kind in ("gate_proj", "up_proj"):
            weight = weight[self._inner]
        elif kind == "down_proj":
            weight = weight[:, self._inner]
        elif kind == "v_proj":
            weight = weight[self._in_heads(len(weight))]
        elif kind == "o_proj":
            weight = weight[:, self._in_heads(weight.shape[1])]
        return weight.contiguous()

    def _in_heads(self, size: int) -> Tensor:
        """The order of values within each head, over all heads."""
        starts = torch.arange(0, size, len(self._head))
        return (starts[:, None] + self._head).flatten()


def write_shuffled(folder: Path, target: Path) -> None:
    """Write the shuffled model of a folder with one file of weights. Raises ValueError."""
    config = AutoConfig.from_pretrained(folder)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    shuffle = Shuffle(config.hidden_size, config.intermediate_size, head_dim)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors"))
    weights = load_file(folder / "model.safetensors")
    shuffled = {name: shuffle(name, weight) for name, weight in weights.items()}
    save_file(shuffled, target / "model.safetensors", metadata={"format": "pt"})
