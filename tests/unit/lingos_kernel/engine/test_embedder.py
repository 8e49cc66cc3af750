"""Vectors equal to a plain computation with transformers, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import torch

from lingos_kernel.engine.embedder import Embedder
from lingos_kernel.engine.messages import Pooling
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.models.text_codec import TextCodec

if TYPE_CHECKING:
    from lingos_kernel.models.store import StoredModel

INPUTS = [list(range(3, 3 + length)) for length in (5, 1, 12, 5, 30)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(path: Path) -> Any:
    """The bare model in float32."""
    from transformers import AutoModel

    return AutoModel.from_pretrained(path, dtype=torch.float32).eval()


@torch.inference_mode()
def reference(model: Any, ids: Sequence[int], pooling: Pooling) -> torch.Tensor:
    """One input alone, without padding, normalised."""
    hidden = model(input_ids=torch.tensor([list(ids)])).last_hidden_state[0]
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling]
    return torch.nn.functional.normalize(pooled, dim=0)


@pytest.mark.parametrize("pooling", get_args(Pooling))
@pytest.mark.parametrize("architecture", ["bert", "llama", "gemma3"])
def test_vectors_equal_the_plain_computation(
    tiny_model: Callable[[str], Path], architecture: str, pooling: Pooling
) -> None:
    """Encoders and causal LMs, each pooling, in padded batches: equal to one at a time."""
    model = load(tiny_model(architecture))
    embedder = Embedder(model, max_tokens=512, batch_tokens=40)
    vectors = torch.tensor(embedder.embed(INPUTS, pooling=pooling))
    expected = torch.stack([reference(model, ids, pooling) for ids in INPUTS])
    torch.testing.assert_close(vectors, expected, atol=1e-5, rtol=0)


def test_batches_are_bounded_and_cover_all_inputs() -> None:
    """No batch exceeds its tokens, and each input is in exactly one."""
    embedder = Embedder(torch.nn.Identity(), max_tokens=20, batch_tokens=24)
    batches = embedder.batches(INPUTS)
    assert sorted(index for batch in batches for index in batch) == list(range(len(INPUTS)))
    for batch in batches:
        longest = max(min(len(INPUTS[index]), 20) for index in batch)
        assert longest * len(batch) <= 24
    assert embedder.batches([]) == []


def test_long_inputs_keep_their_closing_tokens() -> None:
    """Truncation keeps the beginning and the token that closes a text."""
    embedder = Embedder(torch.nn.Identity(), max_tokens=4, closing_ids=(9,))
    assert list(embedder.truncate([1, 2, 3, 4, 5, 9])) == [1, 2, 3, 9]
    assert list(embedder.truncate([1, 2, 3, 4, 5])) == [1, 2, 3, 4]
    assert list(embedder.truncate([1, 2, 9])) == [1, 2, 9]


def test_the_models_own_attention_is_put_back(tiny_model: Callable[[str], Path]) -> None:
    """Embedding borrows dense attention, even when computing fails."""
    model = load(tiny_model("llama"))
    model.config._attn_implementation = "eager"
    embedder = Embedder(model, max_tokens=512)
    plain = embedder.embed([INPUTS[0]], normalize=False)[0]
    with pytest.raises(IndexError):
        embedder.embed([[10**6]])
    assert model.config._attn_implementation == "eager"
    assert sum(value * value for value in plain) != pytest.approx(1.0)


def test_an_empty_input_is_refused(tiny_model: Callable[[str], Path]) -> None:
    """Nothing can be pooled from nothing."""
    with pytest.raises(InvalidArguments, match="no tokens"):
        Embedder(load(tiny_model("bert")), max_tokens=8).embed([[1], []])


@pytest.mark.model
def test_default_embedder_equals_sentence_transformers_recipe(
    default_embedder: StoredModel,
) -> None:
    """MiniLM: mean pooling over the mask, normalised, cut at 256 tokens, to 1e-5."""
    texts = ["The cat sits outside.", "A cat is sitting outdoors.", "word " * 600, "好"]
    codec = TextCodec.load(default_embedder.path)
    model = load(default_embedder.path)
    assert codec.embed_tokens == 256
    inputs = [codec.encode(text, special=True) for text in texts]
    vectors = torch.tensor(Embedder.for_model(model, codec).embed(inputs))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(default_embedder.path)
    for text, vector in zip(texts, vectors, strict=True):
        ids = tokenizer(text, truncation=True, max_length=256)["input_ids"]
        expected = reference(model, ids, "mean")
        torch.testing.assert_close(vector, expected, atol=1e-5, rtol=0)
    assert float(vectors[0] @ vectors[1]) > float(vectors[0] @ vectors[3])
