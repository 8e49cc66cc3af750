"""One sequence of the scripted core: a reply on its way out, token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec.structs import replace

from lingos_kernel.engine.detokenizer import Detokenizer
from lingos_kernel.engine.messages import (
    FinishReason,
    Generate,
    SamplingParams,
    SequenceOutput,
    TokenLogprob,
    Usage,
)
from lingos_kernel.engine.stat_rows import SequenceStats
from lingos_kernel.models.text_codec import TextCodec

Logprob = Callable[[Sequence[int], int], float]
"""The log-probability, in nats, of a token after others."""


def even_odds(before: Sequence[int], token_id: int) -> float:  # noqa: ARG001 - as `Logprob` has it
    """Every token has the same chance of one half."""
    return -0.6931471805599453


class ScriptedSequence:
    """One choice of a request."""

    def __init__(
        self,
        request: Generate,
        choice: int,
        codec: TextCodec,
        *,
        reply: Sequence[int],
        room: int,
        logprob: Logprob,
        now_s: float,
    ) -> None:
        """`room` is how many tokens fit into the context after the prompt."""
        self.request_id = request.request_id
        self.model = request.model
        self.choice = choice
        self.priority = request.priority
        self.arrived_s = now_s
        self.is_paused = request.is_paused
        self.is_finished = False
        self._request = request
        self._params = request.params
        self._codec = codec
        self._reply = tuple(reply)
        self._room = room
        self._logprob = logprob
        self._text = Detokenizer(codec, request.params, request.prompt_ids)
        self._tokens: list[int] = []
        self._is_running = False
        self._first_token_s: float | None = None
        self._preemptions = 0
        self._inherited = 0
        for token in request.output_ids[choice] if choice < len(request.output_ids) else ():
            self._tokens.append(token)
            self._text.push(token)
        self._is_prompt_scored = self._params.prompt_logprobs is None

    def fork(
        self, request_id: str, params: SamplingParams | None, now_s: float
    ) -> list[ScriptedSequence]:
        """A branch with all its choices, that go on from here by themselves."""
        params = replace(params or replace(self._params, n=1), prompt_logprobs=None)
        request = replace(
            self._request,
            request_id=request_id,
            params=params,
            priority=self.priority,
            output_ids=(tuple(self._tokens),) * params.n,
            is_paused=False,
        )
        branches = [
            ScriptedSequence(
                request,
                choice,
                self._codec,
                reply=self._reply,
                room=self._room,
                logprob=self._logprob,
                now_s=now_s,
            )
            for choice in range(params.n)
        ]
        for branch in branches:
            branch._inherited = len(self._tokens)
        return branches

    def set_running(self, is_running: bool) -> None:
        """Whether the next step advances it; losing its place is a preemption."""
        self._preemptions += self._is_running and not is_running
        self._is_running = is_running

    def advance(self, now_s: float) -> SequenceOutput:
        """The output of one step."""
        token, reason = self._next()
        text = ""
        if token is not None:
            self._tokens.append(token)
            if self._first_token_s is None:
                self._first_token_s = now_s - self.arrived_s
            if reason != "stop":
                text, is_stopped = self._text.push(token)
                reason = "stop" if is_stopped else reason
        if reason:
            text += self._text.finish()
        self.is_finished = reason is not None
        return SequenceOutput(
            request_id=self.request_id,
            choice=self.choice,
            token_ids=() if token is None else (token,),
            text=text,
            logprobs=() if token is None else self._scores(token),
            prompt_logprobs=self._prompt_scores(),
            finish_reason=reason,
            usage=self._usage(now_s) if reason else None,
        )

    def _next(self) -> tuple[int | None, FinishReason | None]:
        """The next token, and whether it is the last."""
        count = len(self._tokens)
        limit = min(self._params.max_tokens, self._room)
        if count >= limit:
            return None, "length"
        eos = min(self._codec.eos_ids, default=None)
        if count < len(self._reply) or (self._params.ignore_eos and self._reply):
            token = self._reply[count % len(self._reply)]
        elif eos is None:
            return None, "stop"
        else:
            token = eos
        if token in self._params.stop_token_ids or (
            token in self._codec.eos_ids and not self._params.ignore_eos
        ):
            return token, "stop"
        return token, "length" if count + 1 >= limit else None

    def _scores(self, token: int) -> tuple[TokenLogprob, ...]:
        if self._params.logprobs is None:
            return ()
        before = [*self._request.prompt_ids, *self._tokens[:-1]]
        return (self._score(before, token, self._params.logprobs),)

    def _prompt_scores(self) -> tuple[TokenLogprob, ...]:
        if self._is_prompt_scored or self._params.prompt_logprobs is None:
            return ()
        self._is_prompt_scored = True
        ids = self._request.prompt_ids
        first = max(self._params.prompt_logprobs_from, 1)
        top = self._params.prompt_logprobs
        return tuple(self._score(ids[:i], ids[i], top) for i in range(first, len(ids)))

    def _score(self, before: Sequence[int], token: int, top: int) -> TokenLogprob:
        """The token's score; `top` other tokens of the vocabulary, best first, beside it."""
        ids = sorted({token, *range(min(top, self._codec.vocabulary))})
        scored = sorted(((id_, self._logprob(before, id_)) for id_ in ids), key=lambda x: -x[1])
        return TokenLogprob(token, self._logprob(before, token), tuple(scored[:top]))

    def _usage(self, now_s: float) -> Usage:
        return Usage(
            prompt_tokens=len(self._request.prompt_ids),
            output_tokens=len(self._tokens) - self._inherited,
            first_token_s=self._first_token_s,
            total_s=now_s - self.arrived_s,
            preemptions=self._preemptions,
        )

    def stats(self, waiting: int, now_s: float, page_bytes: int, page_size: int) -> SequenceStats:
        """How the pane sees it; `waiting` sequences are before it."""
        tokens = len(self._request.prompt_ids) + len(self._tokens)
        pages = -(-tokens // page_size) if self._is_running or self._tokens else 0
        is_waiting = not self._is_running and not self.is_paused
        return SequenceStats(
            request_id=self.request_id,
            choice=self.choice,
            pid=self._request.pid,
            model=self.model,
            state=self._state(),
            priority=self.priority,
            queue_position=waiting if is_waiting else None,
            prompt_tokens=len(self._request.prompt_ids),
            computed_tokens=tokens if pages else 0,
            output_tokens=len(self._tokens),
            cached_tokens=0,
            pages=pages,
            kv_bytes=pages * page_bytes,
            waited_s=self._first_token_s or 0.0,
            running_s=now_s - self.arrived_s,
            first_token_s=self._first_token_s,
            tokens_per_s=0.0,
            preemptions=self._preemptions,
        )

    def _state(self) -> Literal["waiting", "decode", "paused", "preempted"]:
        if self.is_paused:
            return "paused"
        if self._is_running:
            return "decode"
        return "preempted" if self._tokens else "waiting"
