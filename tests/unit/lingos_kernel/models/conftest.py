"""Makes what the store pulls from: GGUF files, wheels and folders, tiny ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GgufWriterFixture = Callable[..., Path]


@pytest.fixture
def write_gguf(tmp_path: Path) -> GgufWriterFixture:
    """Writes a folder's model as a GGUF file, by llama.cpp's rules: `write_gguf(folder)`."""

    def write(folder: Path, *, name: str = "tiny.gguf", **options: Any) -> Path:
        path = tmp_path / name
        _write_model(folder, path, **options)
        return path

    return write


def _write_model(
    folder: Path,
    path: Path,
    *,
    quantisation: str = "F32",
    skip: frozenset[str] = frozenset(),
    extra: Callable[[Any], None] = lambda writer: None,
) -> None:
    """Tensor names come from gguf's own map, not from the tables that are tested."""
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFWriter, get_tensor_name_map
    from gguf.constants import MODEL_ARCH_NAMES
    from gguf.quants import quantize
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    arch = {"gemma3_text": "gemma3"}.get(config["model_type"], config["model_type"])
    layers = config.get("num_hidden_layers") or config["n_layer"]
    key = next(key for key, value in MODEL_ARCH_NAMES.items() if value == arch)
    names = get_tensor_name_map(key, layers)
    writer = GGUFWriter(path, arch)
    _add_config(writer, config, arch)
    _add_tokenizer(writer, folder)
    extra(writer)
    kind = GGMLQuantizationType[quantisation]
    for name, values in sorted(load_file(folder / "model.safetensors").items()):
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if name == "lm_head.weight":
            gguf_name = "output.weight"  # gguf's map of Gemma 2 omits it: theirs are all tied
        assert gguf_name is not None, name
        if gguf_name in skip:
            continue
        values = _as_llama_cpp_stores(values, gguf_name, config, arch)
        if values.ndim == 1 or kind is GGMLQuantizationType.F32:
            writer.add_tensor(gguf_name, np.ascontiguousarray(values, np.float32))
        elif kind is GGMLQuantizationType.F16:
            writer.add_tensor(gguf_name, np.ascontiguousarray(values, np.float16))
        else:
            writer.add_tensor(
                gguf_name, quantize(np.ascontiguousarray(values), kind), raw_dtype=kind
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as_llama_cpp_stores(values: Any, name: str, config: dict[str, Any], arch: str) -> Any:
    """Rotary rows interleaved (llama), norms one higher (gemma), Conv1D transposed (gpt2)."""
    heads = {"attn_q.weight": "num_attention_heads", "attn_k.weight": "num_key_value_heads"}
    leaf = name.split(".", 2)[-1]
    if arch == "llama" and leaf in heads:
        count = config[heads[leaf]]
        halves = values.reshape(count, 2, len(values) // count // 2, *values.shape[1:])
        return halves.swapaxes(1, 2).reshape(values.shape)
    if arch.startswith("gemma") and name.endswith("norm.weight"):
        return values + 1
    conv = ("attn_qkv.weight", "attn_output.weight", "ffn_up.weight", "ffn_down.weight")
    if arch == "gpt2" and name.endswith(conv):
        return values.T
    return values


def _add_config(writer: Any, config: dict[str, Any], arch: str) -> None:
    get = lambda *names: next(config[name] for name in names if name in config)  # noqa: E731
    hidden, heads = get("hidden_size", "n_embd"), get("num_attention_heads", "n_head")
    writer.add_context_length(get("max_position_embeddings", "n_positions"))
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(config.get("intermediate_size") or 4 * hidden)
    writer.add_block_count(get("num_hidden_layers", "n_layer"))
    writer.add_head_count(heads)
    if arch == "gpt2":
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    writer.add_rope_dimension_count(config.get("head_dim") or hidden // heads)
    if config.get("head_dim"):
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    if arch.startswith("gemma"):
        writer.add_sliding_window(config["sliding_window"])
        writer.add_sliding_window_pattern(
            [kind == "sliding_attention" for kind in config["layer_types"]]
        )
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])


def _add_tokenizer(writer: Any, folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    template = (folder / "chat_template.jinja").read_text()
    ids = tokenizer["model"]["vocab"] | {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = sorted(ids, key=lambda token: ids[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_chat_template(template)
