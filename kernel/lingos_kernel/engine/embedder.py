"""Token sequences to vectors: the last hidden layer, pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from lingos_kernel.engine.messages import Pooling


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
        """`batch_tokens` bounds the padded size of one forward pass, and so its memory."""
        self._model = model
        self._max_tokens = max_tokens
        self._closing = tuple(closing_ids)
        self._pad_id = pad_id
        self._batch_tokens = batch_tokens

    @torch.inference_mode()
    def embed(
        self,
        inputs: Sequence[Sequence[int]],
        *,
        pooling: Pooling = "mean",
        normalize: bool = True,
    ) -> list[tuple[float, ...]]:
        """One vector per input, in order. An empty input has no vector to pool: give one token."""
        texts = [self.truncate(ids) for ids in inputs]
        vectors: list[tuple[float, ...]] = [()] * len(texts)
        for batch in self._batches(texts):
            pooled = self._forward([texts[index] for index in batch], pooling)
            if normalize:
                pooled = torch.nn.functional.normalize(pooled, dim=-1)
            for index, vector in zip(batch, pooled.tolist(), strict=True):
                vectors[index] = tuple(vector)
        return vectors

    def truncate(self, ids: Sequence[int]) -> Sequence[int]:
        """The input as it is computed: at most `max_tokens` long."""
        if len(ids) <= self._max_tokens:
            return ids
        closing = self._closing
        if closing and tuple(ids[-len(closing) :]) == closing:
            return (*ids[: self._max_tokens - len(closing)], *closing)
        return ids[: self._max_tokens]

    def _batches(self, texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Indices of texts of like length; padded, a batch has at most `batch_tokens`."""
        batch: list[int] = []
        for index in sorted(range(len(texts)), key=lambda i: len(texts[i])):
            if batch and len(texts[index]) * (len(batch) + 1) > self._batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

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
