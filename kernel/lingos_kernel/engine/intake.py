"""From a `Generate` or `Fork` to sequences: checks what was asked, restores what is known."""

from __future__ import annotations

from collections.abc import Sequence as Items

from msgspec.structs import replace

from lingos_kernel.engine.detokenizer import Detokenizer
from lingos_kernel.engine.grammar import GrammarCompiler
from lingos_kernel.engine.messages import FinishReason, Generate, SamplingParams
from lingos_kernel.engine.sampling_checks import check_sampling
from lingos_kernel.engine.sampling_row import SamplingRow
from lingos_kernel.engine.sequence import Request, Sequence
from lingos_kernel.errors import (
    EmptyPrompt,
    EngineError,
    InvalidArguments,
    InvalidGrammar,
    OutOfMemory,
    PromptTooLong,
)
from lingos_kernel.memory.pages import pages_for
from lingos_kernel.memory.planner import request_sums
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.scheduling.holds import Place


class Intake:
    """Makes requests for one model."""

    def __init__(
        self,
        codec: TextCodec,
        *,
        name: str,
        context_tokens: int,
        vocabulary: int,
        pages: int,
        page_bytes: int,
    ) -> None:
        """`vocabulary` counts the rows of the logits."""
        self._codec = codec
        self._grammars = GrammarCompiler(codec)
        self._name = name
        self._context_tokens = context_tokens
        self._vocabulary = vocabulary
        self._pages = pages
        self._page_bytes = page_bytes
        self._orders = 0

    def request(self, command: Generate, arrival_s: float) -> Request:
        """The request of a command; raises a `LingOSError` when it cannot be served."""
        check_sampling(command.params, vocabulary=self._vocabulary)
        self._check_tokens(command)
        limit = self._limit(command)
        self._orders += 1
        return Request(
            command=command,
            arrival_s=arrival_s,
            place=Place(arrival_s, self._orders),
            priority=command.priority,
            limit=limit,
        )

    def sequence(self, request: Request, choice: int, outputs: Items[int] = ()) -> Sequence:
        """A choice of a request that already has these output tokens.

        Sampling, grammar and detokeniser stand where they stood after those. Raises
        `InvalidGrammar` when the grammar does not allow them.
        """
        command, params = request.command, request.params
        matcher = self._grammars.compile(params.grammar) if params.grammar else None
        detokenizer = Detokenizer(self._codec, params, command.prompt_ids)
        row = SamplingRow(
            params=params,
            prompt_ids=command.prompt_ids,
            output_ids=outputs,
            choice=choice,
            matcher=matcher,
            eos_ids=frozenset() if params.ignore_eos else self._codec.eos_ids,
        )
        for token_id in outputs:
            detokenizer.push(token_id)
        if matcher is not None:
            try:
                matcher.accept_all(outputs)
            except EngineError as error:
                raise InvalidGrammar(
                    "the output so far does not fit the grammar",
                    hint="branch before the text that the grammar forbids",
                ) from error
        return Sequence(request, choice, row, detokenizer)

    def branch(
        self, parent: Sequence, request_id: str, params: SamplingParams | None, arrival_s: float
    ) -> tuple[Request, list[Sequence]]:
        """A request that goes on from where a sequence stands, and its choices."""
        command = replace(
            parent.request.command,
            request_id=request_id,
            params=params or replace(parent.request.params, n=1),
            priority=parent.priority,
            output_ids=(),
            hold_id="",
            is_paused=False,
        )
        command = replace(command, params=replace(command.params, prompt_logprobs=None))
        request = self.request(command, arrival_s)
        children = [
            self.sequence(request, choice, parent.outputs) for choice in range(command.params.n)
        ]
        for child in children:
            child.inherited = len(parent.outputs)
        return request, children

    def known_end(self, sequence: Sequence) -> FinishReason | None:
        """Why a sequence that came with output tokens is over already, if it is."""
        if not sequence.outputs:
            return None
        last, matcher = sequence.outputs[-1], sequence.row.matcher
        is_stopped = (
            last in sequence.row.eos_ids
            or last in sequence.request.params.stop_token_ids
            or sequence.detokenizer.is_stopped
            or (matcher is not None and matcher.is_finished)
        )
        if is_stopped:
            return "stop"
        return None if sequence.wants_token else "length"

    def _check_tokens(self, command: Generate) -> None:
        if not command.prompt_ids:
            raise EmptyPrompt("the prompt has no tokens", hint="give at least one token")
        for ids in (command.prompt_ids, *command.output_ids):
            if ids and not 0 <= min(ids) <= max(ids) < self._vocabulary:
                raise InvalidArguments(
                    f"a token id is outside of the {self._vocabulary} that {self._name} has",
                    hint="encode the prompt with this model's tokenizer (llm.tokenize)",
                )
        if len(command.output_ids) > command.params.n:
            raise InvalidArguments(
                f"output_ids has {len(command.output_ids)} choices, n is {command.params.n}"
            )

    def _limit(self, command: Generate) -> int:
        """Output tokens of each choice; raises when the prompt leaves no room."""
        prompt, wanted = len(command.prompt_ids), command.params.max_tokens
        room = self._context_tokens - prompt
        if room < min(wanted, 1):
            raise PromptTooLong(
                f"the prompt has {prompt} tokens and {self._name} a context of"
                f" {self._context_tokens}: {max(-room, 0) + 1} too many to answer",
                hint="shorten the prompt, or choose a model with a longer context",
                prompt_tokens=prompt,
                context_tokens=self._context_tokens,
            )
        limit = min(wanted, room)
        if pages_for(prompt + limit) > self._pages:
            sums = request_sums(
                prompt_tokens=prompt,
                max_tokens=limit,
                choices=command.params.n,
                pages=self._pages,
                page_bytes=self._page_bytes,
            )
            raise OutOfMemory(
                f"the request can never fit: {sums}",
                hint="lower max_tokens, shorten the prompt, or raise engine.kv_bytes",
            )
        return limit
