"""Attention over pages equals dense attention, and what pages cannot give is refused."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.engine.batch import PackedBatch, Part
from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.kv_cache import KvCache
from lingos_kernel.engine.model import verify
from lingos_kernel.engine.probe import probe
from lingos_kernel.engine.runner import ModelRunner
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.step_index import (
    DecodeGroup,
    StepIndex,
    group_by_length,
    in_order,
)
from lingos_kernel.errors import UnsupportedModel
from lingos_kernel.models.loader import build_causal, context_tokens_of

COMMON: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 12,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
}
CONFIGS: dict[str, Any] = {
    "llama": tf.LlamaConfig(**COMMON),
    "softcap and windows (gemma2)": tf.Gemma2Config(
        **COMMON, head_dim=8, sliding_window=9, attn_logit_softcapping=3.0
    ),
    "sinks and windows (gpt-oss)": tf.GptOssConfig(
        **COMMON,
        **EXPERTS,
        head_dim=8,
        sliding_window=9,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    ),
    "latent attention (deepseek v3)": tf.DeepseekV3Config(**COMMON | LATENT),
    "mixture of experts (mixtral)": tf.MixtralConfig(**COMMON, **EXPERTS),
}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def registered() -> None:
    """Enter the attention functions into transformers' registry, as the core does."""
    torch.set_num_threads(1)
    EngineCore(EngineSettings())


def make(config: Any) -> Any:
    """A random model; biases and sinks are random too."""
    torch.manual_seed(3)
    model = build_causal(copy.deepcopy(config), device=CPU, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if "sinks" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_any_cut_of_any_mix_gives_the_dense_logits(name: str) -> None:
    """Three sequences in random parts, packed at random, on shuffled pages: as one dense pass."""
    model = make(CONFIGS[name])
    found = probe(model, name)
    rng = random.Random(11)
    prompts = [[rng.randrange(97) for _ in range(length)] for length in (61, 40, 7)]
    with torch.inference_mode():
        expected = [model(torch.tensor([ids]), use_cache=False).logits[0] for ids in prompts]
    runner = ModelRunner(model, found, KvCache([shape for _, shape in found], 12, CPU))
    pages = rng.sample(range(12), 12)
    tables = [pages[:4], pages[4:7], pages[7:8]]
    starts = [0, 0, 0]
    while any(start < len(ids) for start, ids in zip(starts, prompts, strict=True)):
        parts: list[tuple[int, Part]] = []
        for index, ids in enumerate(prompts):
            count = min(rng.choice([0, 1, 1, 5, 19]), len(ids) - starts[index])
            if count:
                piece = ids[starts[index] : starts[index] + count]
                parts.append((index, Part(piece, starts[index], tables[index], 0)))
                starts[index] += count
        parts.sort(key=lambda item: len(item[1].token_ids) > 1)
        if not parts:
            continue
        logits = runner.forward([part for _, part in parts])
        for index, part in parts:
            rows, logits = logits[: len(part.token_ids)], logits[len(part.token_ids) :]
            torch.testing.assert_close(
                rows, expected[index][part.start : part.end], atol=2e-4, rtol=1e-4
            )


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_that_begin_with_the_same_pages_give_the_dense_logits(name: str) -> None:
    """What they share is read once for all; unlike rows, long and short, are beside them."""
    model = make(CONFIGS[name])
    found = probe(model, name)
    rng = random.Random(5)
    start = [rng.randrange(97) for _ in range(9 * 16)]
    ends = [[rng.randrange(97) for _ in range(length)] for length in (3, 20, 1, 40)]
    prompts = [*(start + end for end in ends), start[:50], start[1:33]]
    with torch.inference_mode():
        expected = [model(torch.tensor([ids]), use_cache=False).logits[0, -1] for ids in prompts]
    runner = ModelRunner(model, found, KvCache([shape for _, shape in found], 40, CPU))
    free = iter(rng.sample(range(40), 40))
    shared = [next(free) for _ in range(9)]
    own = [[next(free) for _ in range(4)] for _ in prompts]
    tables = [*(shared + pages for pages in own[:4]), own[4], own[5]]
    runner.forward([Part(start, 0, shared, len(start))])
    for ids, table, begin in zip(prompts, tables, [144] * 4 + [0] * 2, strict=True):
        if len(ids) - 1 > begin:
            runner.forward([Part(ids[begin:-1], begin, table, len(ids) - 1 - begin)])
    rows = [
        (index, Part(ids[-1:], len(ids) - 1, table, 0))
        for index, (ids, table) in enumerate(zip(prompts, tables, strict=True))
    ]
    ordered = in_order(rows)
    assert sum(group.prefix is not None for group in step_groups(ordered)) == 1
    logits = runner.forward([part for _, part in ordered])
    for (index, _), row in zip(ordered, logits, strict=True):
        torch.testing.assert_close(row, expected[index], atol=2e-4, rtol=1e-4)


def step_groups(parts: list[tuple[int, Part]]) -> tuple[DecodeGroup, ...]:
    """How a full layer reads these rows."""
    return StepIndex.of(PackedBatch.pack([part for _, part in parts], CPU), None).groups


@given(
    st.lists(st.tuples(st.sampled_from([0, 0, 1, 2]), st.integers(0, 300)), min_size=1, max_size=12)
)
def test_every_row_reads_its_own_pages(rows: list[tuple[int, int]]) -> None:
    """Shared pages and own ones together are the row's, whatever the mix of families."""
    parts = []
    for number, (family, start) in enumerate(rows):
        count, shared = start // 16 + 1, min(start // 16, 10)
        common = [1000 * (family or 100 + number) + page for page in range(shared)]
        own = [100_000 * (number + 1) + page for page in range(count - shared)]
        parts.append((number, Part([1], start, common + own, 0)))
    ordered = in_order(parts)
    assert {number for number, _ in ordered} == set(range(len(rows)))
    groups = step_groups(ordered)
    assert [row for g in groups for row in range(g.first, g.first + g.rows)] == list(
        range(len(rows))
    )
    for group in groups:
        prefix = group.prefix.tolist() if group.prefix is not None else []
        table = group.pages.view(group.rows, -1).tolist()
        members = ordered[group.first : group.first + group.rows]
        for (_, part), pages in zip(members, table, strict=True):
            assert [*prefix, *pages][: len(part.pages)] == list(part.pages)
            assert len(prefix) * 16 <= part.start


def test_windows_are_those_of_the_models_own_masks() -> None:
    """Each layer's window, cap and sinks are found by watching, not by reading configurations."""
    found = probe(make(CONFIGS["softcap and windows (gemma2)"]), "gemma2")
    assert [shape.window for _, shape in found] == [9, None, 9]
    assert {shape.softcap for _, shape in found} == {3.0}
    found = probe(make(CONFIGS["sinks and windows (gpt-oss)"]), "gpt-oss")
    assert all(shape.has_sinks for _, shape in found)
    found = probe(make(CONFIGS["latent attention (deepseek v3)"]), "deepseek")
    assert {(shape.key_dim, shape.value_dim) for _, shape in found} == {(16, 12)}


SMALL = COMMON | {"num_hidden_layers": 2}
REFUSED: dict[str, tuple[Any, str]] = {
    "chunked attention": (
        lambda: tf.Llama4TextConfig(
            **SMALL, head_dim=8, num_local_experts=2, attention_chunk_size=16
        ),
        "within chunks",
    ),
    "recurrent layers": (
        lambda: tf.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2),
        "keeps a state",
    ),
    "convolutions": (
        lambda: tf.Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
        "keeps a state",
    ),
    "attention of its own": (
        lambda: tf.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
        "0 of 2 layers attend",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_pages_cannot_give_is_refused(what: str) -> None:
    """A model that needs more is refused when it is loaded, with the reason."""
    config, reason = REFUSED[what]
    model = build_causal(config(), device=CPU, dtype=torch.float32)
    with pytest.raises(UnsupportedModel, match=reason):
        probe(model, what)


def test_verify_notices_a_model_that_does_not_read_its_positions() -> None:
    """A pass over pages that differs from the dense pass is refused."""
    model = make(CONFIGS["llama"])
    found = probe(model, "llama")
    verify(model, found, "llama")
    rotate = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda x, position_ids: rotate(
        x, torch.arange(x.shape[1])[None].to(position_ids)
    )
    with pytest.raises(UnsupportedModel, match="otherwise over pages"):
        verify(model, found, "llama")


def test_rope_that_depends_on_batch_mates_keeps_to_the_original_context() -> None:
    """Frequencies of the long-rope kind change with the longest sequence: it must not get there."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 64,
    }
    config = tf.Phi3Config(**COMMON, rope_parameters=rope, original_max_position_embeddings=64)
    assert context_tokens_of(config) == 64
    assert context_tokens_of(tf.LlamaConfig(**COMMON)) == 256
    assert context_tokens_of(tf.GPT2Config(n_positions=77)) == 77


def test_packing_stores_each_token_in_its_slot() -> None:
    """Slots follow the page table, positions the sequence, logits the rows that were asked for."""
    batch = PackedBatch.pack(
        [Part([9], 17, [4, 2], 0), Part([7, 8, 6], 15, [1, 3], 2), Part([5, 5], 0, [6], 2)], CPU
    )
    assert batch.slots.tolist() == [33, 31, 48, 49, 96, 97]
    assert batch.position_ids.tolist() == [[17, 15, 16, 17, 0, 1]]
    assert batch.input_ids.tolist() == [[9, 7, 8, 6, 5, 5]]
    assert batch.logit_rows.tolist() == [0, 3]


def test_a_window_reads_only_the_pages_that_it_reaches() -> None:
    """A sliding-window layer gathers its window's pages, not the whole history."""
    batch = PackedBatch.pack([Part([1], 100, list(range(7)), 0)], CPU)
    narrow, wide = StepIndex.of(batch, 20), StepIndex.of(batch, None)
    assert narrow.groups[0].pages.tolist() == [5, 6]
    assert len(wide.groups[0].pages) == 7
    assert narrow.groups[0].mask is not None
    visible = narrow.groups[0].mask[0, 0, 0].nonzero().flatten() + 5 * 16
    assert visible.tolist() == list(range(81, 101))


@given(st.lists(st.integers(1, 500), max_size=64))
def test_groups_waste_at_most_half(lengths: list[int]) -> None:
    """Rows sorted by length fall into few groups, each padded to about twice its shortest."""
    lengths.sort()
    bounds = group_by_length(lengths)
    assert [row for first, end in bounds for row in range(first, end)] == list(range(len(lengths)))
    assert all(lengths[end - 1] <= 2 * lengths[first] + 4 for first, end in bounds)
    assert len(bounds) <= 9
