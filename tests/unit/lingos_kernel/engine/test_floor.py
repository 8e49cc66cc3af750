"""The physical lower bound of a decode step."""

from __future__ import annotations

from typing import Any

import torch
import transformers as tf

from lingos_kernel.engine.floor import largest_matrix, memory_bandwidth, step_bytes
from lingos_kernel.models.loader import build_causal

SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _model(config: Any) -> Any:
    return build_causal(config, device=torch.device("cpu"), dtype=torch.float32)


def _all_bytes(model: Any) -> int:
    tensors = [*model.parameters(), *model.buffers()]
    return sum({tensor.data_ptr(): tensor.numel() * 4 for tensor in tensors}.values())


def test_a_dense_model_reads_all_but_an_embedding_table_of_its_own() -> None:
    """A tied table is read as the head; an untied one only by a few rows."""
    tied = _model(tf.LlamaConfig(**SMALL, tie_word_embeddings=True))
    assert step_bytes(tied) == _all_bytes(tied)
    untied = _model(tf.LlamaConfig(**SMALL, tie_word_embeddings=False))
    assert step_bytes(untied) == _all_bytes(untied) - 100 * 32 * 4


def test_of_experts_those_of_one_token_are_read() -> None:
    """Two of eight experts: a quarter of their weights."""
    config = tf.MixtralConfig(
        **SMALL, num_local_experts=8, num_experts_per_tok=2, tie_word_embeddings=True
    )
    model = _model(config)
    experts = sum(p.numel() * 4 for n, p in model.named_parameters() if ".experts." in n)
    assert experts > 0
    assert step_bytes(model) == _all_bytes(model) - experts * 3 // 4


def test_bandwidth_is_that_of_the_largest_matrix() -> None:
    """It is measured on the model's own weights, in their dtype."""
    model = _model(tf.LlamaConfig(**SMALL)).to(torch.bfloat16)
    assert largest_matrix(model).shape == (100, 32)
    assert memory_bandwidth(largest_matrix(model)) > 0
