"""Token sequences to vectors: the last hidden layer, pooled."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch

from lingos_kernel.engine.messages import Pooling
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.models.text_codec import TextCodec


class Embedder:
    """Embeds with an encoder, or with the base model of a causal LM.

    Inputs longer than `max_tokens` are truncated as sentence-transformers truncates: the
    beginning is kept, and the tokens that close a text ([SEP], EOS) stay its last ones.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        max_tokens: int,
        closing_ids: Sequence[int] = (),
        pad_id: int = 0,
        batch_tokens: int = 8192,
    ) -> None:
        """`max_tokens` 0: no limit. `batch_tokens` bounds the padded size of a forward pass."""
        self._model = model
        self._max_tokens = max_tokens or sys.maxsize
        self._closing = tuple(closing_ids)
        self._pad_id = pad_id
        self._batch_tokens = batch_tokens

    @classmethod
    def for_model(cls, model: torch.nn.Module, codec: TextCodec) -> Self:
        """The embedder with the limits that a model's files state."""
        return cls(model, max_tokens=codec.embed_tokens, closing_ids=codec.frame[1])

    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        *,
        pooling: Pooling = "mean",
        normalize: bool = True,
    ) -> list[tuple[float, ...]]:
        """One vector per input, in order."""
        vectors: list[tuple[float, ...]] = [()] * len(inputs)
        for batch in self.batches(inputs):
            some = [inputs[index] for index in batch]
            computed = self.embed_batch(some, pooling=pooling, normalize=normalize)
            for index, vector in zip(batch, computed, strict=True):
                vectors[index] = vector
        return vectors

    def batches(self, inputs: Sequence[Sequence[int]]) -> list[list[int]]:
        """The inputs' indices in batches of like length, each a bounded piece of work.

        Padded, a batch has at most `batch_tokens`, or one input.
        """
        lengths = [min(len(ids), self._max_tokens) for ids in inputs]
        batches: list[list[int]] = []
        for index in sorted(range(len(inputs)), key=lengths.__getitem__):
            size = len(batches[-1]) + 1 if batches else 0
            if batches and lengths[index] * size <= self._batch_tokens:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches

    @torch.inference_mode()
    def embed_batch(
        self,
        inputs: Sequence[Sequence[int]],
        *,
        pooling: Pooling = "mean",
        normalize: bool = True,
    ) -> list[tuple[float, ...]]:
        """One vector per input, in one forward pass.

        Raises `InvalidArguments` for an input without tokens: there is nothing to pool.
        """
        if not all(inputs):
            raise InvalidArguments("an input to embed has no tokens", hint="leave out empty texts")
        pooled = self._forward([self.truncate(ids) for ids in inputs], pooling)
        if normalize:
            pooled = torch.nn.functional.normalize(pooled, dim=-1)
        return [tuple(vector) for vector in pooled.tolist()]

    def truncate(self, ids: Sequence[int]) -> Sequence[int]:
        """The input as it is computed: at most `max_tokens` long."""
        if len(ids) <= self._max_tokens:
            return ids
        closing = self._closing
        if closing and tuple(ids[-len(closing) :]) == closing:
            return (*ids[: self._max_tokens - len(closing)], *closing)
        return ids[: self._max_tokens]

    def _forward(self, texts: Sequence[Sequence[int]], pooling: Pooling) -> torch.Tensor:
        """[B, hidden] float32."""
        device = next(self._model.parameters()).device
        length = max(len(ids) for ids in texts)
        padded = [[*ids, *[self._pad_id] * (length - len(ids))] for ids in texts]
        ids = torch.tensor(padded, dtype=torch.int64, device=device)
        lengths = torch.tensor([len(ids) for ids in texts], device=device)
        mask = torch.arange(length, device=device) < lengths[:, None]
        base = getattr(self._model, "base_model", self._model)
        arguments = {"use_cache": False} if _has_cache(base) else {}
        with standard_attention(base):
            output = base(input_ids=ids, attention_mask=mask.to(torch.int64), **arguments)
        return pool(output.last_hidden_state.float(), mask, lengths, pooling)


def pool(
    hidden: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor, pooling: Pooling
) -> torch.Tensor:
    """[B, T, H] to [B, H]: the mean over a text's tokens, its first one, or its last one."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    weights = mask[:, :, None].to(hidden.dtype)
    return (hidden * weights).sum(1) / lengths[:, None].to(hidden.dtype)


@contextmanager
def standard_attention(model: Any) -> Iterator[None]:
    """Computes with dense attention, whatever the model was loaded to use.

    A causal LM's own attention writes into the paged cache, where these passing sequences have
    no place. transformers looks the name up at each forward pass.
    """
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before


def _has_cache(model: Any) -> bool:
    return bool(getattr(model.config, "use_cache", False))
