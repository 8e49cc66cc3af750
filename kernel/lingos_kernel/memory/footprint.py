"""What a model will take of a device, before it is loaded: pure sums from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_TOKENS = 4096
"""KV slots that a model gets at the least: one long conversation, or a few typical ones."""

VALUE_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.25, "int4": 0.75}
"""Of one value; compressed ones with their scales, and with what stays uncompressed."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a model: of its weights, and of the keys and values of one token."""

    weight_bytes: int
    token_bytes: int
    """Over all layers; 0 for encoders, and where the configuration does not tell."""
    context_tokens: int

    def least_bytes(self, kv_bytes: int = 0) -> int:
        """What it needs to be of use; `kv_bytes` > 0 is the size of its KV pool."""
        tokens = min(self.context_tokens or LEAST_TOKENS, LEAST_TOKENS)
        pool = kv_bytes if kv_bytes and self.token_bytes else tokens * self.token_bytes
        return self.weight_bytes + pool


def estimate(
    config: Mapping[str, Any],
    *,
    parameters: int,
    context_tokens: int,
    weight_dtype: str,
    kv_dtype: str,
    is_causal: bool,
) -> Footprint:
    """The footprint by a Hugging Face `config.json`; the dtypes are keys of `VALUE_BYTES`."""
    token_values = 2 * _kv_values(config) if is_causal else 0
    if is_causal and weight_dtype == "float32":
        parameters += _packed_twice(config)
    return Footprint(
        weight_bytes=int(parameters * VALUE_BYTES[weight_dtype]),
        token_bytes=int(token_values * VALUE_BYTES[kv_dtype]),
        context_tokens=context_tokens,
    )


def _kv_values(config: Mapping[str, Any]) -> int:
    """Values in the keys of one token, over all layers; 0 when the configuration does not tell."""
    config = _text(config)
    layers = _first(config, "num_hidden_layers", "n_layer")
    heads = _first(config, "num_attention_heads", "n_head")
    if not layers or not heads:
        return 0
    size = config.get("head_dim") or _first(config, "hidden_size", "n_embd") // heads
    return layers * (config.get("num_key_value_heads") or heads) * int(size)


def _packed_twice(config: Mapping[str, Any]) -> int:
    """Values of a head that is also the table: on a CPU it is packed beside that."""
    config = _text(config)
    if not config.get("tie_word_embeddings"):
        return 0
    return _first(config, "vocab_size") * _first(config, "hidden_size", "n_embd")


def _text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config


def _first(config: Mapping[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if config.get(name)), 0)
