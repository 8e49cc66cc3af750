"""GGUF's tensor names and metadata keys, in the words of the Hugging Face layout.

One `Architecture` for each `general.architecture` that LingOS converts. Where llama.cpp stores
values in another order or with an offset, the architecture says how to undo it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lingos_kernel.errors import UnsupportedModel
from lingos_kernel.models.gguf_configs import (
    Keys,
    Metadata,
    gemma2_config,
    gemma3_config,
    gemma_config,
    gpt2_config,
    llama_config,
    phi3_config,
    plain_config,
)

_TOP = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LLAMA_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_PHI3_LAYER = _LLAMA_LAYER | {"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"}
_GEMMA2_LAYER = _LLAMA_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_OLMO2_LAYER = _LLAMA_LAYER | {
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_GPT2_TOP = {
    "token_embd": "transformer.wte",
    "position_embd": "transformer.wpe",
    "output_norm": "transformer.ln_f",
    "output": "lm_head",
}
_GPT2_LAYER = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}
_GPT2_TRANSPOSED = frozenset({"attn_qkv", "attn_output", "ffn_up", "ffn_down"})

_NOT_WEIGHTS = frozenset(
    {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"}
)
"""Tensors that belong into the configuration."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a GGUF tensor goes, and what has to be undone on the way."""

    name: str
    rotary_heads: int = 0
    """Rows are interleaved as llama.cpp's rotary embedding wants, for so many heads."""
    is_transposed: bool = False
    offset: float = 0.0
    """What llama.cpp added to the values."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one architecture's GGUF files are read."""

    gguf_name: str
    model_class: str
    make_config: Callable[[Keys], dict[str, Any]]
    layer: Mapping[str, str] = field(default_factory=lambda: _LLAMA_LAYER)
    top: Mapping[str, str] = field(default_factory=lambda: _TOP)
    layer_prefix: str = "model.layers"
    norm_offset: float = 0.0
    is_rotary_interleaved: bool = False
    transposed: frozenset[str] = frozenset()

    def config(self, file: Metadata) -> dict[str, Any]:
        """The `config.json` of the file's model."""
        keys = Keys(file)
        if keys.get("expert_count"):
            raise UnsupportedModel(
                f"the GGUF architecture {self.gguf_name} with experts is not supported",
                hint="pull the original model instead: hf:ORG/NAME",
                architecture=self.gguf_name,
            )
        return {"architectures": [self.model_class], **self.make_config(keys)}

    def place(self, tensor: str, config: Mapping[str, Any]) -> Placement | None:
        """Where a tensor goes; None for one that belongs into the configuration.

        Raises UnsupportedModel for a tensor that this architecture does not have.
        """
        if tensor in _NOT_WEIGHTS:
            return None
        stem, _, leaf = tensor.rpartition(".")
        name = self._name(stem)
        if name is None or leaf not in {"weight", "bias"}:
            raise UnsupportedModel(
                f"the tensor {tensor} is not known in GGUF files of architecture {self.gguf_name}",
                hint="pull the original model instead: hf:ORG/NAME",
                tensor=tensor,
            )
        kind = stem.rpartition(".")[2]
        is_norm = kind.endswith("norm") and leaf == "weight"
        return Placement(
            name=f"{name}.{leaf}",
            rotary_heads=self._rotary_heads(kind, config),
            is_transposed=kind in self.transposed and leaf == "weight",
            offset=self.norm_offset if is_norm else 0.0,
        )

    def _name(self, stem: str) -> str | None:
        if not stem.startswith("blk."):
            return self.top.get(stem)
        _, layer, kind = stem.split(".", 2)
        name = self.layer.get(kind)
        return f"{self.layer_prefix}.{layer}.{name}" if name is not None else None

    def _rotary_heads(self, kind: str, config: Mapping[str, Any]) -> int:
        if not self.is_rotary_interleaved:
            return 0
        heads = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}.get(kind)
        return int(config[heads]) if heads else 0


def architecture_of(metadata: Mapping[str, Any]) -> Architecture:
    """The architecture of a file; raises UnsupportedModel naming it."""
    name = str(metadata.get("general.architecture", ""))
    if name not in ARCHITECTURES:
        raise UnsupportedModel(
            f"the GGUF architecture {name or '(none)'} is not supported",
            hint=f"supported are {', '.join(sorted(ARCHITECTURES))}; "
            "or pull the original model: hf:ORG/NAME",
            architecture=name,
        )
    return ARCHITECTURES[name]


_ALL = (
    Architecture("llama", "LlamaForCausalLM", llama_config, is_rotary_interleaved=True),
    Architecture("qwen2", "Qwen2ForCausalLM", plain_config("qwen2")),
    Architecture("qwen3", "Qwen3ForCausalLM", plain_config("qwen3")),
    Architecture("gemma", "GemmaForCausalLM", gemma_config, norm_offset=1.0),
    Architecture(
        "gemma2", "Gemma2ForCausalLM", gemma2_config, layer=_GEMMA2_LAYER, norm_offset=1.0
    ),
    Architecture(
        "gemma3", "Gemma3ForCausalLM", gemma3_config, layer=_GEMMA2_LAYER, norm_offset=1.0
    ),
    Architecture("olmo2", "Olmo2ForCausalLM", plain_config("olmo2"), layer=_OLMO2_LAYER),
    Architecture("phi3", "Phi3ForCausalLM", phi3_config, layer=_PHI3_LAYER),
    Architecture(
        "gpt2",
        "GPT2LMHeadModel",
        gpt2_config,
        layer=_GPT2_LAYER,
        top=_GPT2_TOP,
        layer_prefix="transformer.h",
        transposed=_GPT2_TRANSPOSED,
    ),
)
ARCHITECTURES: Mapping[str, Architecture] = {each.gguf_name: each for each in _ALL}
