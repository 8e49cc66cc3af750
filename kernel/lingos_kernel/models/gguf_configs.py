"""The config.json of a model, from the metadata of its GGUF file."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from lingos_kernel.errors import CorruptModel, UnsupportedModel


class Metadata(Protocol):
    """What a configuration is made from."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The file's keys and values."""

    @property
    def tensors(self) -> Collection[str]:
        """The names of the file's tensors."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding matrix."""

    def values(self, tensor: str) -> list[float]:
        """A small tensor's values."""


class Keys:
    """The metadata of one architecture, by the part of the key after its name."""

    def __init__(self, file: Metadata) -> None:
        self.file = file
        self.prefix = str(file.metadata["general.architecture"])

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default."""
        return self.file.metadata.get(f"{self.prefix}.{key}", default)

    def need(self, key: str) -> Any:
        """A value; raises CorruptModel if it is not there."""
        value = self.get(key)
        if value is None:
            raise CorruptModel(
                f"the GGUF file lacks the metadata key {self.prefix}.{key}",
                hint="get the file from a publisher whose files llama.cpp runs",
            )
        return value

    def number(self, key: str) -> float:
        """A 32-bit float as the shortest decimal that means it (1e-05, not 9.999999747e-06)."""
        import numpy as np

        return float(str(np.float32(self.need(key))))


def _decoder(keys: Keys, model_type: str) -> dict[str, Any]:
    """What all rotary decoders share."""
    hidden, heads = int(keys.need("embedding_length")), int(keys.need("attention.head_count"))
    head_dim = int(keys.get("attention.key_length") or hidden // heads)
    return {
        "model_type": model_type,
        "vocab_size": keys.file.vocab_size,
        "hidden_size": hidden,
        "intermediate_size": int(keys.need("feed_forward_length")),
        "num_hidden_layers": int(keys.need("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(keys.get("attention.head_count_kv") or heads),
        "head_dim": head_dim,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": int(keys.need("context_length")),
        "rope_parameters": _rope(keys),
        "tie_word_embeddings": "output.weight" not in keys.file.tensors,
    }


def _rope(keys: Keys) -> dict[str, Any]:
    """Rotary embedding: its base, and how it is stretched to a longer context."""
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": _theta(keys)}
    kind = str(keys.get("rope.scaling.type") or "none")
    if kind in {"linear", "yarn"}:
        rope |= {"rope_type": kind, "factor": float(keys.need("rope.scaling.factor"))}
        if original := keys.get("rope.scaling.original_context_length"):
            rope["original_max_position_embeddings"] = int(original)
    elif kind not in {"none", "longrope"}:
        raise UnsupportedModel(
            f"the rotary scaling {kind} of this GGUF file is not supported",
            hint="pull the original model instead: hf:ORG/NAME",
        )
    return rope


def _theta(keys: Keys) -> float:
    return float(keys.get("rope.freq_base") or 10_000.0)


def llama_config(keys: Keys) -> dict[str, Any]:
    """Llama, and Mistral, whose files say llama."""
    config = _decoder(keys, "llama")
    config["attention_bias"] = "blk.0.attn_q.bias" in keys.file.tensors
    if "rope_freqs.weight" in keys.file.tensors:
        config["rope_parameters"] = _llama3_rope(keys, config["head_dim"])
    return config


def _llama3_rope(keys: Keys, head_dim: int) -> dict[str, Any]:
    """Llama 3's scaling: the file has only the factors that follow from it, one a frequency."""
    factors = keys.file.values("rope_freqs.weight")
    theta, factor = _theta(keys), max(factors)
    rope = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    expected = [_llama3_factor(theta, 2 * i / head_dim, factor) for i in range(head_dim // 2)]
    if len(factors) != len(expected) or not all(map(_is_close, factors, expected)):
        raise UnsupportedModel(
            "the rotary frequencies of this GGUF file are not those of Llama 3",
            hint="pull the original model instead: hf:ORG/NAME",
        )
    return rope


def _llama3_factor(theta: float, exponent: float, factor: float) -> float:
    """What Llama 3.1 divides one frequency by."""
    wavelength = 2 * math.pi * math.pow(theta, exponent)
    if wavelength < 8192 / 4.0:
        return 1.0
    if wavelength > 8192 / 1.0:
        return factor
    smooth = (8192 / wavelength - 1.0) / (4.0 - 1.0)
    return 1 / ((1 - smooth) / factor + smooth)


def _is_close(left: float, right: float) -> bool:
    return math.isclose(left, right, rel_tol=1e-3)


def plain_config(model_type: str) -> Callable[[Keys], dict[str, Any]]:
    """The configuration of a decoder that needs nothing of its own."""
    return lambda keys: _decoder(keys, model_type)


def phi3_config(keys: Keys) -> dict[str, Any]:
    """Phi-3: a rotated part of each head, and factors for long contexts."""
    config = _decoder(keys, "phi3")
    rotated = int(keys.get("rope.dimension_count") or config["head_dim"])
    config["rope_parameters"]["partial_rotary_factor"] = rotated / config["head_dim"]
    if window := keys.get("attention.sliding_window"):
        config["sliding_window"] = int(window)
    if "rope_factors_long.weight" in keys.file.tensors:
        original = int(keys.need("rope.scaling.original_context_length"))
        config["original_max_position_embeddings"] = original
        config["rope_parameters"] |= {
            "rope_type": "longrope",
            "long_factor": keys.file.values("rope_factors_long.weight"),
            "short_factor": keys.file.values("rope_factors_short.weight"),
            "original_max_position_embeddings": original,
        }
    return config


def gemma_config(keys: Keys) -> dict[str, Any]:
    """Gemma 1."""
    return _decoder(keys, "gemma") | {"hidden_activation": "gelu_pytorch_tanh"}


def gemma2_config(keys: Keys) -> dict[str, Any]:
    """Gemma 2: sliding and full layers by turns, softly capped logits."""
    config = _decoder(keys, "gemma2")
    layers = config["num_hidden_layers"]
    return config | {
        "query_pre_attn_scalar": _query_scalar(config, largest_layers=46),
        "sliding_window": int(keys.get("attention.sliding_window", 4096)),
        "layer_types": _layer_types(layers, keys.get("attention.sliding_window_pattern", 2)),
        "attn_logit_softcapping": float(keys.get("attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": float(keys.get("final_logit_softcapping", 30.0)),
    }


def gemma3_config(keys: Keys) -> dict[str, Any]:
    """Gemma 3, its text part: two rotary embeddings."""
    config = _decoder(keys, "gemma3_text")
    layers = config["num_hidden_layers"]
    # Sliding layers see a short window: their base stays at 10,000 and is never stretched.
    sliding = {
        "rope_type": "default",
        "rope_theta": float(keys.get("rope.freq_base_swa") or 10_000.0),
    }
    return config | {
        "query_pre_attn_scalar": _query_scalar(config, largest_layers=62),
        "sliding_window": int(keys.need("attention.sliding_window")),
        "layer_types": _layer_types(layers, keys.get("attention.sliding_window_pattern", 6)),
        "rope_parameters": {
            "full_attention": config["rope_parameters"],
            "sliding_attention": sliding,
        },
        "final_logit_softcapping": keys.get("final_logit_softcapping"),
    }


def _query_scalar(config: Mapping[str, Any], *, largest_layers: int) -> int:
    """Gemma's 27B models scale by hidden size per head, the others by head size."""
    if config["num_hidden_layers"] == largest_layers:
        return int(config["hidden_size"] // config["num_attention_heads"])
    return int(config["head_dim"])


def _layer_types(layers: int, pattern: int | Sequence[bool]) -> list[str]:
    """Which layers slide: all but each n-th, or as listed."""
    if isinstance(pattern, int):
        slides = [(layer + 1) % pattern != 0 for layer in range(layers)]
    else:
        slides = [bool(is_sliding) for is_sliding in pattern]
    return ["sliding_attention" if is_sliding else "full_attention" for is_sliding in slides]


def gpt2_config(keys: Keys) -> dict[str, Any]:
    """GPT-2: learned positions."""
    return {
        "model_type": "gpt2",
        "vocab_size": keys.file.vocab_size,
        "n_embd": int(keys.need("embedding_length")),
        "n_inner": int(keys.need("feed_forward_length")),
        "n_layer": int(keys.need("block_count")),
        "n_head": int(keys.need("attention.head_count")),
        "n_positions": int(keys.need("context_length")),
        "layer_norm_epsilon": keys.number("attention.layer_norm_epsilon"),
        "tie_word_embeddings": "output.weight" not in keys.file.tensors,
    }
