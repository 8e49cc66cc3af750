"""What is computed for a token is the same, bit for bit, whatever is computed beside it."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from lingos_kernel.engine import segment_index
from lingos_kernel.engine.batch import Part
from lingos_kernel.engine.batch_invariance import make_batch_invariant
from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.int8_cache import Int8LayerCache
from lingos_kernel.engine.int8_linear import DigitsInt8Linear
from lingos_kernel.engine.kv_cache import KvCache, LayerCache, LayerStore
from lingos_kernel.engine.packed_linear import pack_linears
from lingos_kernel.engine.probe import probe
from lingos_kernel.engine.runner import ModelRunner
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.steady_activations import STEADY
from lingos_kernel.engine.step_index import in_order
from lingos_kernel.models.loader import build_causal, load_causal
from lingos_kernel.models.store import StoredModel

pytestmark = pytest.mark.skipif(
    not pack_linears(nn.Sequential(nn.Linear(4, 4))), reason="this CPU has no packed products"
)
COMMON: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
}
CONFIGS = {
    "heads that share keys": tf.LlamaConfig(**COMMON, num_attention_heads=6, num_key_value_heads=2),
    "heads of their own": tf.LlamaConfig(**COMMON, num_attention_heads=3, num_key_value_heads=3),
    "windows": tf.MistralConfig(
        **COMMON, num_attention_heads=6, num_key_value_heads=3, sliding_window=150
    ),
    "the GELU of tanh, and two windows": tf.Gemma3TextConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=40
    ),
    "the GELU, and layer norms": tf.Starcoder2Config(
        **COMMON, num_attention_heads=3, num_key_value_heads=3, hidden_act="gelu"
    ),
    "biases and norms of heads": tf.Qwen3Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=1, head_dim=16, attention_bias=True
    ),
}
CPU = torch.device("cpu")
THREADS = (1, 2, 5)
POOL = 160
SHARED_TOKENS = 288
"""What some prompts begin with: two segments and two pages."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The registry of attention is filled, and torch's threads are as before afterwards."""
    before = torch.get_num_threads()
    EngineCore(EngineSettings())
    yield
    torch.set_num_threads(before)


class Beside:
    """Runs prompts in parts beside each other, in every way the scheduler may choose."""

    def __init__(self, model: Any, rng: random.Random, store: type[LayerStore]) -> None:
        found = probe(model, "m")
        shapes = [shape for _, shape in found]
        assert make_batch_invariant(model, shapes)
        self.runner = ModelRunner(model, found, KvCache(shapes, POOL, CPU, store))
        self.rng = rng

    def whole(self, ids: list[int]) -> Tensor:
        """The logits of all tokens, computed in one part, alone."""
        return self.runner.forward([Part(ids, 0, list(range(-(-len(ids) // 16))), 0)])

    def in_parts(
        self, prompts: list[list[int]], sizes: list[int], *, sharing: bool
    ) -> Iterator[tuple[int, Part, Tensor]]:
        """Each part of each prompt with its logits; prompts that can share their beginning do."""
        free = iter(self.rng.sample(range(POOL), POOL))
        common = [next(free) for _ in range(SHARED_TOKENS // 16 if sharing else 0)]
        tables, starts = [], []
        for ids in prompts:
            pages = -(-len(ids) // 16)
            shares = sharing and ids[:SHARED_TOKENS] == prompts[0][:SHARED_TOKENS]
            begin = common if shares else []
            tables.append([*begin, *(next(free) for _ in range(pages - len(begin)))])
            starts.append(SHARED_TOKENS if shares else 0)
        if sharing:
            first = prompts[0][:SHARED_TOKENS]
            self.runner.forward([Part(first, 0, common, len(first))])
        while any(start < len(ids) for start, ids in zip(starts, prompts, strict=True)):
            parts: list[tuple[int, Part]] = []
            for index, ids in enumerate(prompts):
                count = min(self.rng.choice(sizes), len(ids) - starts[index])
                if count:
                    piece = ids[starts[index] : starts[index] + count]
                    parts.append((index, Part(piece, starts[index], tables[index], 0)))
                    starts[index] += count
            parts = in_order(parts)
            logits = self.runner.forward([part for _, part in parts]) if parts else None
            for index, part in parts:
                assert logits is not None
                yield index, part, logits[: len(part.token_ids)]
                logits = logits[len(part.token_ids) :]


def check(beside: Beside, prompts: list[list[int]], ways: list[tuple[list[int], bool]]) -> None:
    """Every row of every way equals that of the whole prompt computed alone."""
    torch.set_num_threads(2)
    expected = [beside.whole(ids) for ids in prompts]
    for number, (sizes, sharing) in enumerate(ways):
        torch.set_num_threads(THREADS[number % len(THREADS)])
        for index, part, rows in beside.in_parts(prompts, sizes, sharing=sharing):
            assert torch.equal(rows, expected[index][part.start : part.end])


def prompts_of(rng: random.Random, vocabulary: int) -> list[list[int]]:
    """Three that begin alike, longer than segments, and short ones."""

    def tokens(count: int) -> list[int]:
        return [rng.randrange(vocabulary) for _ in range(count)]

    common = tokens(SHARED_TOKENS)
    return [*(common + tokens(count) for count in (30, 3, 140)), tokens(260), tokens(40), tokens(5)]


@pytest.mark.parametrize("store", [LayerCache, Int8LayerCache], ids=["native", "int8"])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_any_batch_in_any_parts(name: str, store: type[LayerStore]) -> None:
    """Decoded among others, in chunks, over pages that others read too, with any threads."""
    torch.manual_seed(3)
    rng = random.Random(7)
    model = build_causal(copy.deepcopy(CONFIGS[name]), device=CPU, dtype=torch.float32)
    ways = [([1, 1, 1, 0, 2, 3, 19], False), ([1, 1, 40, 130], True), ([1, 0, 1], True)]
    check(Beside(model, rng, store), prompts_of(rng, 97), ways)


def test_a_long_run_is_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many segments, and fewer queries at a time than the run has: nothing changes."""
    torch.manual_seed(3)
    rng = random.Random(7)
    model = build_causal(
        copy.deepcopy(CONFIGS["heads that share keys"]), device=CPU, dtype=torch.float32
    )
    prompt = [rng.randrange(97) for _ in range(2300)]
    beside = Beside(model, rng, LayerCache)
    expected = beside.whole(prompt)
    monkeypatch.setattr(segment_index, "RUN_QUERIES", 41)
    assert torch.equal(beside.whole(prompt), expected)
    for _, part, rows in beside.in_parts([prompt], [700, 1], sharing=False):
        assert torch.equal(rows, expected[part.start : part.end])


@pytest.mark.model
def test_the_default_model(default_model: StoredModel) -> None:
    """The real one, with its real sizes."""
    rng = random.Random(1)
    model = load_causal(default_model.path, device=CPU, dtype=torch.float32)
    check(
        Beside(model, rng, LayerCache),
        prompts_of(rng, 5000)[1:],
        [([1, 1, 40, 130], True), ([1, 19, 64], False)],
    )


@pytest.mark.parametrize("plain", STEADY)
def test_a_number_has_the_same_activation_wherever_it_lies(plain: type[nn.Module]) -> None:
    """Also at the end of a thread's part, where torch's own computes it otherwise."""
    numbers = torch.randn(100_003) * 5
    numbers[:2] = torch.tensor([-200.0, 200.0])
    steady = STEADY[plain]()
    expected = steady(numbers)
    torch.testing.assert_close(expected, plain()(numbers), rtol=1e-5, atol=2e-6)
    assert expected[:2].tolist() == [0.0, 200.0]
    for threads in THREADS:
        torch.set_num_threads(threads)
        for first in (1, 7, 16, 33):
            assert torch.equal(steady(numbers[first:].clone()), expected[first:])


NOT_SO = {
    "experts": tf.MixtralConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4
    ),
    "other layers": tf.GPT2Config(
        vocab_size=97, n_embd=48, n_layer=2, n_head=4, activation_function="gelu_pytorch_tanh"
    ),
    "other activations": tf.LlamaConfig(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, hidden_act="gelu_new"
    ),
    "soft caps": tf.Gemma2Config(
        **COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=16
    ),
}


@pytest.mark.parametrize("name", NOT_SO)
def test_what_is_not_so_does_not_say_so(name: str) -> None:
    """Models of which it is not promised are told apart."""
    model = build_causal(copy.deepcopy(NOT_SO[name]), device=CPU, dtype=torch.float32)
    assert not make_batch_invariant(model, [shape for _, shape in probe(model, name)])


@pytest.mark.parametrize(
    ("architecture", "weights", "invariant"),
    [
        *((name, "native", True) for name in ("llama", "qwen3", "gemma3", "mistral", "qwen2")),
        *((name, "native", True) for name in ("phi3", "olmo2")),
        *((name, "native", False) for name in ("gpt2", "moe", "gemma2")),
        *((("llama", "int8", DigitsInt8Linear.runs_on(CPU)), ("llama", "int4", True))),
    ],
)
def test_a_loaded_model_says_whether_it_is_so(
    architecture: str, weights: str, invariant: bool, tiny_model: Any, drive: Any
) -> None:
    """By its architecture and the format of its weights."""
    engine = drive(tiny_model(architecture), weights=weights)
    assert engine.core.models["m"].info.batch_invariant == invariant
