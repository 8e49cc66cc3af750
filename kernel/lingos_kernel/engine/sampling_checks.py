"""Whether sampling parameters make sense; no torch, so that callers can check before queueing."""

from __future__ import annotations

import math

from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.errors import InvalidArguments

MOST_LOGPROBS = 128

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("temperature", 0.0, 100.0),
    ("top_k", 0, math.inf),
    ("top_p", 0.0, 1.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 0.01, 100.0),
    ("presence_penalty", -100.0, 100.0),
    ("frequency_penalty", -100.0, 100.0),
    ("max_tokens", 0, math.inf),
    ("min_tokens", 0, math.inf),
    ("n", 1, 1024),
)


def check_sampling(params: SamplingParams, *, vocabulary: int | None = None) -> None:
    """Raises `InvalidArguments`, naming the first parameter that is out of its range."""
    for name, low, high in _RANGES:
        value = getattr(params, name)
        if not low <= value <= high:
            raise InvalidArguments(
                f"{name} is {value}", hint=f"give a number from {low:g} to {high:g}", argument=name
            )
    if params.max_tokens and params.min_tokens > params.max_tokens:
        raise InvalidArguments(
            f"min_tokens ({params.min_tokens}) is more than max_tokens ({params.max_tokens})",
            hint="lower min_tokens",
            argument="min_tokens",
        )
    _check_logprobs(params)
    _check_ids(params, vocabulary)


def _check_logprobs(params: SamplingParams) -> None:
    for name in ("logprobs", "prompt_logprobs"):
        value = getattr(params, name)
        if value is not None and not 0 <= value <= MOST_LOGPROBS:
            raise InvalidArguments(
                f"{name} is {value}", hint=f"give 0 to {MOST_LOGPROBS}", argument=name
            )


def _check_ids(params: SamplingParams, vocabulary: int | None) -> None:
    end = math.inf if vocabulary is None else vocabulary
    for name in ("logit_bias", "stop_token_ids"):
        strangers = [id_ for id_ in getattr(params, name) if not 0 <= id_ < end]
        if strangers:
            raise InvalidArguments(
                f"{name} names token {strangers[0]}, which the model does not have",
                hint="look token ids up with llm.tokenize",
                argument=name,
            )
    if any(not math.isfinite(value) for value in params.logit_bias.values()):
        raise InvalidArguments(
            "logit_bias has a value that is not finite",
            hint="give -100 to forbid a token",
            argument="logit_bias",
        )
