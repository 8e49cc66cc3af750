"""Chooses the next token of every sequence of a batch.

The order of operations is that of `SamplingParams`. Log-probabilities are those of the model
itself: log-softmax of the logits before any rule, temperature or filter, as in vLLM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lingos_kernel.engine.logit_rules import apply_rules
from lingos_kernel.engine.messages import TokenLogprob
from lingos_kernel.engine.random_draw import draw, integer_weights, keep_nucleus, random_bits
from lingos_kernel.engine.sampling_row import SamplingRow

__all__ = ["Sampler", "SamplingRow", "prompt_logprobs"]


class Sampler:
    """Stateless: a choice depends on its row of logits and its `SamplingRow` alone."""

    def sample(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[TokenLogprob]:
        """One token per row; `logprob` is NaN where `params.logprobs` is None.

        logits: [B, V] float32, on any device, left as they are; row i belongs to rows[i].
        Grammar matchers are read only: `accept` the token afterwards.
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
        if len(special) == len(rows):
            return _choose_by_rules(logits.clone(), rows)
        tokens: list[int] = logits.argmax(-1).tolist()
        if special:
            chosen = _choose_by_rules(logits[special], [rows[i] for i in special])
            for index, token in zip(special, chosen, strict=True):
                tokens[index] = token
        return tokens


def _choose_by_rules(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """One token per row; changes `logits`."""
    apply_rules(logits, rows)
    drawn = [index for index, row in enumerate(rows) if not row.is_greedy]
    if len(drawn) == len(rows):
        return _draw(logits, rows)
    tokens: list[int] = logits.argmax(-1).tolist()
    if drawn:
        chosen = _draw(logits[drawn], [rows[index] for index in drawn])
        for index, token in zip(drawn, chosen, strict=True):
            tokens[index] = token
    return tokens


def _draw(logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    """One random token per row, after temperature, top-k, top-p and min-p; changes `logits`."""
    device = logits.device
    temperatures = torch.tensor([[row.params.temperature] for row in rows], device=device)
    distance = logits.amax(-1, keepdim=True).sub(logits).div_(temperatures)
    # A row of infinities or NaN (a broken model) has no distances; it ends on the last token.
    distance.nan_to_num_(nan=math.inf, posinf=math.inf)
    _keep_top_k(distance, rows)
    weights = integer_weights(distance)
    _keep_top_p(weights, distance, rows)
    _keep_min_p(weights, distance, rows)
    bits = [random_bits(row.params.seed, row.choice, row.draw_position) for row in rows]
    tokens: list[int] = draw(weights, bits).clamp_(max=logits.shape[-1] - 1).tolist()
    return tokens


def _keep_top_k(distance: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    """Put all but the k nearest infinitely far; ties with the last one stay."""
    vocabulary = distance.shape[-1]
    limited = [i for i, row in enumerate(rows) if 0 < row.params.top_k < vocabulary]
    if limited:
        counts = [rows[i].params.top_k for i in limited]
        nearest = distance[limited].topk(max(counts), largest=False).values
        last = torch.tensor([[count - 1] for count in counts], device=distance.device)
        limit = distance.new_full((len(rows), 1), math.inf)
        limit[limited] = nearest.gather(1, last)
        distance.masked_fill_(distance > limit, math.inf)


def _keep_top_p(weights: torch.Tensor, distance: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    limited = [index for index, row in enumerate(rows) if row.params.top_p < 1.0]
    if limited:
        shares = torch.tensor(
            [rows[i].params.top_p for i in limited], dtype=torch.float64, device=weights.device
        )
        weights[limited] = keep_nucleus(weights[limited], distance[limited], shares)


def _keep_min_p(weights: torch.Tensor, distance: torch.Tensor, rows: Sequence[SamplingRow]) -> None:
    if any(row.params.min_p > 0.0 for row in rows):
        limits = [
            [-math.log(row.params.min_p) if row.params.min_p > 0.0 else math.inf] for row in rows
        ]
        weights.mul_(distance <= torch.tensor(limits, device=weights.device))


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
