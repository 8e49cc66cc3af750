"""Chooses the next token of every sequence of a batch.

The order of operations is that of `SamplingParams`. Log-probabilities are those of the model
itself: log-softmax of the logits before any rule, temperature or filter, as in vLLM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

import torch

from lingos_kernel.engine.logit_rules import apply_rules
from lingos_kernel.engine.messages import TokenLogprob
from lingos_kernel.engine.random_draw import (
    draw,
    integer_weights,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    random_bits,
)
from lingos_kernel.engine.sampling_row import SamplingRow

__all__ = ["Sampler", "SamplingRow", "prompt_logprobs"]

_CPU_ROWS, _GPU_ROWS = 8, 64
"""How many rows are worked on at once: what caches hold, or what fills a GPU."""


class Sampler:
    """A choice depends on its row of logits and its `SamplingRow` alone.

    It keeps buffers between calls, so one thread at a time may use it: touching fresh memory
    costs several times what the arithmetic does.
    """

    def __init__(self) -> None:
        self._buffers: dict[torch.dtype, torch.Tensor] = {}

    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[TokenLogprob]:
        """One token per row; `logprob` is NaN where `params.logprobs` is None.

        logits: [B, V] float32, on any device, left as they are; row i belongs to rows[i].
        Grammar matchers are only read: `accept` the token afterwards.
        """
        tokens = self._choose(logits, rows)
        wanted = [index for index, row in enumerate(rows) if row.params.logprobs is not None]
        scored = iter(_score(logits, rows, tokens, wanted))
        return [
            TokenLogprob(token, math.nan) if row.params.logprobs is None else next(scored)
            for token, row in zip(tokens, rows, strict=True)
        ]

    def _choose(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        special = [i for i, row in enumerate(rows) if row.is_ruled or not row.is_greedy]
        tokens = argmax(logits) if len(special) < len(rows) else [0] * len(rows)
        at_once = _rows_at_once(logits.device)
        for start in range(0, len(special), at_once):
            some = special[start : start + at_once]
            copy = self._buffer(torch.float32, some, logits)
            torch.index_select(logits, 0, torch.tensor(some, device=logits.device), out=copy)
            chosen = self._choose_by_rules(copy, [rows[index] for index in some])
            for index, token in zip(some, chosen, strict=True):
                tokens[index] = token
        return tokens

    def _choose_by_rules(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        """One token per row; changes `logits`."""
        apply_rules(logits, rows)
        tokens = argmax(logits)
        drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
        if drawn:
            some = logits if len(drawn) == len(rows) else logits[drawn]
            chosen = self._draw(some, [rows[index] for index in drawn])
            for index, token in zip(drawn, chosen, strict=True):
                tokens[index] = token
        return tokens

    def _draw(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
        """One random token per row, after temperature, top-k, top-p, min-p; changes `logits`."""
        temperatures = [[row.params.temperature] for row in rows]
        peaks = logits.amax(-1, keepdim=True)
        distance = logits.neg_().add_(peaks)
        distance.div_(torch.tensor(temperatures, device=logits.device))
        # A row of infinities or NaN (a broken model) has no distances; it ends on the first token.
        distance.nan_to_num_(nan=math.inf, posinf=math.inf)
        weights = integer_weights(distance, self._buffer(torch.int64, rows, logits))
        keep_top_k(weights, [row.params.top_k for row in rows])
        keep_top_p(weights, [row.params.top_p for row in rows])
        keep_min_p(weights, [row.params.min_p for row in rows])
        bits = [random_bits(row.params.seed, row.choice, row.draw_position) for row in rows]
        tokens: list[int] = draw(weights, bits).tolist()
        return tokens

    def _buffer(self, dtype: torch.dtype, rows: Sized, like: torch.Tensor) -> torch.Tensor:
        """Memory of shape [rows, V] on the device of `like`, with anything in it."""
        shape = (_rows_at_once(like.device), like.shape[-1])
        buffer = self._buffers.get(dtype)
        if buffer is None or buffer.shape != shape or buffer.device != like.device:
            buffer = self._buffers[dtype] = torch.empty(shape, dtype=dtype, device=like.device)
        return buffer[: len(rows)]


def _rows_at_once(device: torch.device) -> int:
    return _CPU_ROWS if device.type == "cpu" else _GPU_ROWS


def argmax(logits: torch.Tensor) -> list[int]:
    """The index of each row's largest value, the first of equals; [R, V] to R numbers."""
    if logits.device.type == "cpu":
        # numpy's is vectorised: 4 instead of 42 microseconds for 49,152 values.
        return [int(index) for index in logits.numpy().argmax(-1)]
    indices: list[int] = logits.argmax(-1).tolist()
    return indices


def _score(
    logits: torch.Tensor,
    rows: Sequence[SamplingRow],
    tokens: Sequence[int],
    wanted: Sequence[int],
) -> list[TokenLogprob]:
    """The log-probabilities of the wanted rows' tokens."""
    if not wanted:
        return []
    some = logits if len(wanted) == len(rows) else logits[list(wanted)]
    counts = [rows[index].params.logprobs or 0 for index in wanted]
    return _logprobs(some, [tokens[index] for index in wanted], counts)


@torch.inference_mode()
def prompt_logprobs(logits: torch.Tensor, targets: Sequence[int], top_k: int) -> list[TokenLogprob]:
    """The log-probability of each target under its row, with the `top_k` likeliest tokens.

    logits: [P, V] float32, where row i was computed at the position before targets[i].
    """
    return _logprobs(logits, targets, [top_k] * len(targets)) if targets else []


def _logprobs(
    logits: torch.Tensor, tokens: Sequence[int], counts: Sequence[int]
) -> list[TokenLogprob]:
    norms = logits.logsumexp(-1, keepdim=True)
    chosen = torch.tensor(tokens, dtype=torch.int64, device=logits.device)[:, None]
    own: list[float] = (logits.gather(1, chosen) - norms).squeeze(1).tolist()
    most = min(max(counts), logits.shape[-1])
    if most == 0:
        return [TokenLogprob(token, value) for token, value in zip(tokens, own, strict=True)]
    top = logits.topk(most, dim=-1)
    values: list[list[float]] = (top.values - norms).tolist()
    ids: list[list[int]] = top.indices.tolist()
    return [
        TokenLogprob(token, own[i], tuple(zip(ids[i][:count], values[i][:count], strict=True)))
        for i, (token, count) in enumerate(zip(tokens, counts, strict=True))
    ]
