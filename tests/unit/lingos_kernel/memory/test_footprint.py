"""What a model will take, told from its configuration."""

from __future__ import annotations

from typing import Any

import pytest

from lingos_kernel.memory.footprint import LEAST_TOKENS, Footprint, estimate

LLAMA = {
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
}


def footprint(
    config: dict[str, Any], dtype: str = "float32", kv_dtype: str = "", *, is_causal: bool = True
) -> Footprint:
    """The footprint of a model of 1,000 parameters."""
    return estimate(
        config,
        parameters=1_000,
        context_tokens=2_048,
        weight_dtype=dtype,
        kv_dtype=kv_dtype or dtype,
        is_causal=is_causal,
    )


def test_keys_and_values_of_grouped_heads() -> None:
    """SmolLM2-135M: 2 x 30 layers x 3 heads x 64 values x 4 bytes."""
    found = footprint(LLAMA)
    assert found.token_bytes == 2 * 30 * 3 * 64 * 4
    assert found.least_bytes() == 4_000 + 2_048 * found.token_bytes
    assert found.least_bytes(kv_bytes=5) == 4_005


@pytest.mark.parametrize(
    ("config", "token_bytes"),
    [
        ({"n_layer": 2, "n_head": 4, "n_embd": 64}, 2 * 2 * 64 * 2),
        ({"text_config": {**LLAMA, "head_dim": 128}}, 2 * 30 * 3 * 128 * 2),
        ({"d_model": 64}, 0),
    ],
)
def test_other_ways_to_say_it(config: dict[str, Any], token_bytes: int) -> None:
    """GPT-2's names, a head size of its own in a nested configuration, and nothing known."""
    assert footprint(config, "bfloat16").token_bytes == token_bytes


def test_compressed_values_take_less() -> None:
    """Weights and KV each in their own format, with room for scales."""
    found = footprint(LLAMA, "int4", "int8")
    assert found.weight_bytes == 750
    assert found.token_bytes == 2 * 30 * 3 * 64 * 1.25


def test_an_encoder_has_no_pool() -> None:
    """Nor does a size for pools apply to it."""
    assert footprint(LLAMA, is_causal=False).least_bytes(kv_bytes=99) == 4_000


def test_a_long_context_need_not_fit_as_a_whole() -> None:
    """The least pool is one long conversation."""
    assert Footprint(0, 2, 10**6).least_bytes() == 2 * LEAST_TOKENS
    assert Footprint(0, 2, 0).least_bytes() == 2 * LEAST_TOKENS
