"""The sampling options of every generating syscall, and their translation for the engine."""

from __future__ import annotations

import json
import secrets
from typing import Annotated, Any, TypedDict

from pydantic import Field

from lingos_kernel.engine.messages import Grammar, SamplingParams
from lingos_kernel.errors import InvalidArguments

CONSTRAINTS = ("schema", "regex", "ebnf")


class Sampling(TypedDict, total=False):
    """Options of `llm.chat` and `llm.complete`; the defaults are greedy decoding."""

    temperature: Annotated[float, Field(ge=0, le=100, description="0 is greedy")]
    top_k: Annotated[int, Field(ge=0, description="keep the k likeliest tokens; 0 keeps all")]
    top_p: Annotated[float, Field(gt=0, le=1, description="keep the smallest set of this mass")]
    min_p: Annotated[float, Field(ge=0, le=1, description="drop tokens below this share of best")]
    repetition_penalty: Annotated[float, Field(gt=0, description="over prompt and output")]
    presence_penalty: Annotated[float, Field(ge=-2, le=2, description="per token seen in output")]
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, description="per time seen in output")]
    logit_bias: Annotated[dict[int, float], Field(description="added to the logit of a token id")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="drawn and reported when not given")]
    stop: Annotated[list[str], Field(description="strings that end the answer")]
    stop_token_ids: Annotated[list[int], Field(description="token ids that end the answer")]
    ignore_eos: Annotated[bool, Field(description="go on past the end-of-text token")]
    max_tokens: Annotated[int, Field(ge=1, description="most tokens of one answer")]
    min_tokens: Annotated[int, Field(ge=0, description="fewest tokens of one answer")]
    n: Annotated[int, Field(ge=1, le=128, description="how many answers")]
    logprobs: Annotated[int, Field(ge=0, le=20, description="likeliest tokens per position")]
    schema: Annotated[dict[str, Any], Field(description="JSON schema the answer must meet")]
    regex: Annotated[str, Field(description="regular expression the answer must match")]
    ebnf: Annotated[str, Field(description="Lark grammar the answer must match")]


def to_params(options: Sampling, *, default_max_tokens: int) -> SamplingParams:
    """The engine's form of the options; draws a seed when none is given.

    Raises `InvalidArguments` when more than one of schema, regex and ebnf is given, or when
    min_tokens exceeds max_tokens.
    """
    plain: dict[str, Any] = {k: v for k, v in options.items() if k not in CONSTRAINTS}
    plain.setdefault("max_tokens", default_max_tokens)
    plain.setdefault("seed", secrets.randbits(62))
    for name in ("stop", "stop_token_ids"):
        if name in plain:
            plain[name] = tuple(plain[name])
    params = SamplingParams(**plain, grammar=to_grammar(options))
    if params.min_tokens > params.max_tokens:
        raise InvalidArguments(
            f"min_tokens ({params.min_tokens}) is more than max_tokens ({params.max_tokens})",
            hint="raise max_tokens or lower min_tokens",
        )
    return params


def to_grammar(options: Sampling) -> Grammar | None:
    """The one constraint that was given, if any."""
    given = [name for name in CONSTRAINTS if options.get(name) is not None]
    if len(given) > 1:
        raise InvalidArguments(
            f"{' and '.join(given)} cannot be combined", hint="give one of schema, regex, ebnf"
        )
    if "schema" in given:
        return Grammar("json", json.dumps(options["schema"]))
    if "regex" in given:
        return Grammar("regex", options["regex"])
    if "ebnf" in given:
        return Grammar("ebnf", options["ebnf"])
    return None
