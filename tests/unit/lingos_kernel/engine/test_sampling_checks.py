"""Sampling parameters out of range are refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.engine.sampling_checks import check_sampling
from lingos_kernel.errors import InvalidArguments


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("temperature", {"temperature": -0.1}),
        ("temperature", {"temperature": math.nan}),
        ("top_p", {"top_p": 1.1}),
        ("top_k", {"top_k": -1}),
        ("min_p", {"min_p": 2.0}),
        ("repetition_penalty", {"repetition_penalty": 0.0}),
        ("n", {"n": 0}),
        ("min_tokens", {"min_tokens": 9, "max_tokens": 8}),
        ("logprobs", {"logprobs": 1000}),
        ("prompt_logprobs", {"prompt_logprobs": -1}),
        ("logit_bias", {"logit_bias": {100: 1.0}}),
        ("logit_bias", {"logit_bias": {1: math.inf}}),
        ("stop_token_ids", {"stop_token_ids": (-1,)}),
    ],
)
def test_a_wrong_value_is_named(argument: str, values: dict[str, Any]) -> None:
    """The error names the argument and says what to give."""
    with pytest.raises(InvalidArguments) as caught:
        check_sampling(SamplingParams(**values), vocabulary=100)
    assert caught.value.details["argument"] == argument
    assert argument in caught.value.message
    assert caught.value.hint


def test_usual_values_pass() -> None:
    """The defaults, and each limit itself, are fine."""
    check_sampling(SamplingParams())
    check_sampling(SamplingParams(top_p=0.0, min_p=1.0, max_tokens=0, min_tokens=5, logprobs=0))
    check_sampling(SamplingParams(logit_bias={99: -100.0}, stop_token_ids=(0,)), vocabulary=100)
