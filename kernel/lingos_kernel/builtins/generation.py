"""From token ids to finished choices: one request to the engine, streamed and accounted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from lingos_kernel.engine.messages import (
    FinishReason,
    Generate,
    SamplingParams,
    SequenceOutput,
    TokenLogprob,
    Usage,
)
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.requests import Requests
from lingos_kernel.engine.residency import Resident
from lingos_kernel.errors import EmptyPrompt, QuotaExceeded
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.processes.table import ProcessTable
from lingos_kernel.syscalls.spec import Context

UNITS = {"tokens": "tokens", "pages": "KV pages"}
"""What a limit counts, in an error."""


@dataclass(slots=True)
class Choice:
    """One answer as it grows."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None

    def add(self, output: SequenceOutput) -> None:
        """Take in what one step brought."""
        self.text += output.text
        self.token_ids.extend(output.token_ids)
        self.logprobs.extend(output.logprobs)
        self.prompt_logprobs = output.prompt_logprobs or self.prompt_logprobs
        self.finish_reason = output.finish_reason or self.finish_reason
        self.usage = output.usage or self.usage


class Generator:
    """Runs generation requests for calls, under the priority and limits of their process."""

    def __init__(self, engine: Engine, processes: ProcessTable, requests: Requests) -> None:
        self._engine = engine
        self._processes = processes
        self._requests = requests

    async def stream(
        self,
        context: Context,
        model: Resident,
        prompt_ids: list[int],
        params: SamplingParams,
        choices: list[Choice],
        *,
        hold_id: str = "",
    ) -> AsyncGenerator[SequenceOutput, None]:
        """Stream a request's outputs, adding them to `choices` (one per `params.n`).

        `hold_id` names the hold of the turn before, whose pages and place in line it takes over.
        Raises `QuotaExceeded` before it begins, or at the token at which other calls of the
        process have used up what it still had then.
        """
        if not prompt_ids:
            raise EmptyPrompt("the prompt is empty", hint="give some text to answer")
        pid, prompt_tokens = context.pid, len(prompt_ids)
        params = self._within_limits(pid, prompt_tokens, params)
        pages = pages_needed(prompt_tokens, params.max_tokens, params.n)
        work = self._requests.work(pid)
        work.model = model.name
        with self._requests.track(pid) as request_id, self._processes.holding(pid, pages=pages):
            work.request_id = request_id
            request = Generate(
                request_id=request_id,
                model=model.name,
                prompt_ids=tuple(prompt_ids),
                params=params,
                priority=self._processes.get(pid).priority,
                pid=pid,
                program=str(self._processes.program(pid)),
                tenant=context.principal.tenant,
                share=context.principal.prefix_share,
                hold_id=hold_id,
                is_paused=self._requests.is_held(pid),
            )
            outputs = self._engine.generate(request)
            self._processes.charge(pid, tokens=prompt_tokens)
            try:
                async for output in outputs:
                    choices[output.choice].add(output)
                    self._processes.charge(pid, tokens=len(output.token_ids))
                    if output.finish_reason is None:  # else the last token was within the limit
                        self._processes.check_limits(pid)
                    if output.usage is not None:
                        work.first_token_s = output.usage.first_token_s
                    yield output
            finally:
                await outputs.aclose()
                work.prompt_tokens += prompt_tokens
                work.output_tokens += sum(len(choice.token_ids) for choice in choices)

    async def run(
        self, context: Context, model: Resident, prompt_ids: list[int], params: SamplingParams
    ) -> list[Choice]:
        """The finished choices of a request that nobody watches."""
        choices = new_choices(params)
        async for _ in self.stream(context, model, prompt_ids, params, choices):
            pass
        return choices

    def _within_limits(
        self, pid: int, prompt_tokens: int, params: SamplingParams
    ) -> SamplingParams:
        """The parameters with max_tokens cut to the tokens and pages that the process has left."""
        left = self._processes.remaining(pid)
        most = params.max_tokens
        if left.tokens is not None:
            most = min(most, (left.tokens - prompt_tokens) // params.n)
            self._check_room(most, params, prompt_tokens, "tokens", pid)
        if left.pages is not None:
            most = min(most, tokens_that_fit(prompt_tokens, left.pages, params.n))
            self._check_room(most, params, prompt_tokens, "pages", pid)
        return params if most == params.max_tokens else replace(params, max_tokens=most)

    def _check_room(
        self, most: int, params: SamplingParams, prompt_tokens: int, limit: str, pid: int
    ) -> None:
        """Raise unless the prompt fits, with one token of output when any is wanted."""
        if most >= min(params.max_tokens, 1):
            return
        process = self._processes.tightest(pid, limit)
        left = f"{getattr(process.remaining(), limit)} {UNITS[limit]}"
        raise QuotaExceeded(
            f"a prompt of {prompt_tokens} tokens does not fit into the {left} that process "
            f"{process.pid} ({process.command}) has left",
            hint="raise its limit, or open another process",
            pid=process.pid,
        )


def pages_needed(prompt_tokens: int, max_tokens: int, n: int) -> int:
    """KV pages that a request may come to hold: whole prompt pages are shared by its choices."""
    shared, tail = divmod(prompt_tokens, PAGE_SLOTS)
    return shared + n * -(-(tail + max_tokens) // PAGE_SLOTS)


def tokens_that_fit(prompt_tokens: int, pages: int, n: int) -> int:
    """The most output tokens per choice that need at most so many pages; below 0: none do."""
    shared, tail = divmod(prompt_tokens, PAGE_SLOTS)
    return (pages - shared) // n * PAGE_SLOTS - tail


def new_choices(params: SamplingParams) -> list[Choice]:
    """Empty choices for a request."""
    return [Choice() for _ in range(params.n)]


def usage_of(choices: list[Choice]) -> dict[str, Any]:
    """The usage of a request: prompt counted once, outputs summed, the slowest choice's times."""
    known = [choice.usage for choice in choices if choice.usage]
    if not known:
        return msgspec.to_builtins(Usage(0, 0))  # type: ignore[no-any-return]
    firsts = [u.first_token_s for u in known if u.first_token_s is not None]
    return {
        "prompt_tokens": known[0].prompt_tokens,
        "output_tokens": sum(usage.output_tokens for usage in known),
        "cached_tokens": known[0].cached_tokens,
        "queue_s": max(usage.queue_s for usage in known),
        "first_token_s": min(firsts) if firsts else None,
        "total_s": max(usage.total_s for usage in known),
        "preemptions": sum(usage.preemptions for usage in known),
    }


def describe_choice(choice: Choice, codec: TextCodec) -> dict[str, Any]:
    """The JSON-able form of a choice."""
    described: dict[str, Any] = {"text": choice.text, "finish_reason": choice.finish_reason}
    if choice.logprobs:
        described["logprobs"] = [describe_logprob(item, codec) for item in choice.logprobs]
    return described


def describe_logprob(item: TokenLogprob, codec: TextCodec) -> dict[str, Any]:
    """A token with its log-probability (nats) and the likeliest ones at its position."""
    return {
        "token": codec.token_text(item.token_id),
        "token_id": item.token_id,
        "logprob": item.logprob,
        "top": [
            {"token": codec.token_text(token_id), "token_id": token_id, "logprob": logprob}
            for token_id, logprob in item.top
        ],
    }
