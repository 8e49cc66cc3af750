"""`llm.*`: the model as system calls."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal, Unpack

from pydantic import BaseModel, ConfigDict, Field

from lingos_kernel.builtins.chat import Chat, Message
from lingos_kernel.builtins.context_use import check_single, use_context
from lingos_kernel.builtins.encoding import LONG_CHARACTERS, encoded, on_pool
from lingos_kernel.builtins.generation import (
    describe_choice,
    describe_logprob,
    new_choices,
    usage_of,
)
from lingos_kernel.builtins.holds import LONGEST_HOLD_S, Hold
from lingos_kernel.builtins.passage import Passage
from lingos_kernel.builtins.sampling import Sampling, to_params
from lingos_kernel.builtins.services import Services, pull_progress
from lingos_kernel.builtins.transcript import Transcript
from lingos_kernel.engine.messages import Embed, SamplingParams
from lingos_kernel.engine.residency import Resident
from lingos_kernel.errors import EmptyPrompt, InvalidArguments
from lingos_kernel.syscalls.events import Result
from lingos_kernel.syscalls.spec import Context, syscall

DEFAULT_MAX_TOKENS = 512

ContextName = Annotated[
    str | None, Field(description="a context (ctx.create) to go on with; the answer is added")
]
ModelName = Annotated[str | None, Field(description="a stored model; the default when not given")]


class LlmSyscalls:
    """Text in, text, vectors or scores out."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def _model(self, context: Context, name: str | None, kind: str = "causal") -> Resident:
        return await self._services.residency.ensure(
            name, kind=kind, on_progress=pull_progress(context)
        )

    @syscall("llm.chat", cost="engine")
    async def chat(
        self,
        call: Context,
        messages: list[Message] | None = None,
        model: ModelName = None,
        tools: list[str] | None = None,
        tool_choice: Literal["auto", "required", "none"] = "auto",
        max_steps: Annotated[int, Field(ge=1, le=64)] = 8,
        context: ContextName = None,
        hold_s: Annotated[float, Field(ge=0, le=LONGEST_HOLD_S)] = 0.0,
        **options: Unpack[Sampling],
    ) -> AsyncIterator[Any]:
        """Answer a conversation, calling system calls on the way when tools are given.

        Streams {"text"} pieces, {"tool_call"} and {"tool_result"}; the result holds the whole
        text, the usage and the seed that was used.

        Args:
            messages: the conversation, oldest first; the last one is answered.
            tools: names or patterns (`text.*`) of syscalls that the model may call.
            tool_choice: required forces at least one call before the first answer.
            max_steps: most turns of the model before it must have answered.
            hold_s: hold the context's pages so long for the next turn, as ctx.hold does.
        """
        messages = messages or []
        if context is None and not any(message.text().strip() for message in messages):
            raise EmptyPrompt("the conversation is empty", hint="give some text to answer")
        params = to_params(options, default_max_tokens=DEFAULT_MAX_TOKENS)

        async def turn(
            resident: Resident, transcript: Transcript, hold: Hold | None = None
        ) -> AsyncIterator[Any]:
            chat = Chat(self._services, call, resident, params, transcript, hold)
            if tools and tool_choice != "none":
                chat.offer(tools, tool_choice)
            async for item in chat.run(messages, max_steps=max_steps):
                yield item

        if context is None:
            resident = await self._model(call, model)
            async for item in turn(resident, Transcript(resident.codec)):
                yield item
            return
        check_single(params)
        async with use_context(self._services, call, context, model=model, hold_s=hold_s) as use:
            if known := await use.begin("llm.chat", messages, options, tools, tool_choice):
                yield Result(known)
                return
            resident = await self._model(call, use.model)
            transcript = Transcript(use.codec, use.conversation, name=context)
            async for item in turn(resident, transcript, use.hold):
                yield await use.written(item, transcript)

    @syscall("llm.complete", cost="engine")
    async def complete(
        self,
        call: Context,
        prompt: str = "",
        model: ModelName = None,
        context: ContextName = None,
        **options: Unpack[Sampling],
    ) -> AsyncIterator[Any]:
        """Continue a text as it stands, without a chat template.

        Args:
            prompt: the text to continue.
        """
        params = to_params(options, default_max_tokens=DEFAULT_MAX_TOKENS)
        if context is None:
            if not prompt:
                raise EmptyPrompt("the prompt is empty", hint="give some text to continue")
            resident = await self._model(call, model)
            passage = Passage(resident.codec)
            await self._say(call, resident, passage, prompt)
            async for item in self._continue(call, resident, passage, params):
                yield item
            return
        check_single(params)
        async with use_context(self._services, call, context, model=model) as use:
            if known := await use.begin("llm.complete", prompt, options):
                yield Result(known)
                return
            resident = await self._model(call, use.model)
            passage = Passage(use.codec, use.conversation)
            await self._say(call, resident, passage, prompt)
            async for item in self._continue(call, resident, passage, params, use.hold):
                yield await use.written(item, passage)

    async def _say(self, call: Context, resident: Resident, passage: Passage, text: str) -> None:
        """Put a text behind a passage."""

        def say() -> list[int]:
            passage.say(text)
            return passage.tokens

        await encoded(self._services, call, resident, text, say)

    async def _continue(
        self,
        call: Context,
        resident: Resident,
        passage: Passage,
        params: SamplingParams,
        hold: Hold | None = None,
    ) -> AsyncIterator[Any]:
        """Stream what the model writes after a passage, then the result."""
        choices = new_choices(params)
        prompt_ids = passage.tokens
        hold_id = self._services.holds.hand_over(hold)
        stream = self._services.generator.stream(
            call, resident, prompt_ids, params, choices, hold_id=hold_id
        )
        async for output in stream:
            if output.text:
                yield {"text": output.text, "choice": output.choice}
        passage.answered(choices[0].token_ids, choices[0].text)
        yield Result(
            {
                "text": choices[0].text,
                "model": resident.name,
                "finish_reason": choices[0].finish_reason,
                "choices": [describe_choice(choice, resident.codec) for choice in choices],
                "usage": usage_of(choices),
                "seed": params.seed,
            }
        )

    @syscall("llm.embed", cost="engine")
    async def embed(
        self,
        context: Context,
        texts: list[str],
        model: Annotated[str | None, Field(description="default: the configured embedder")] = None,
        pooling: Literal["mean", "cls", "last"] | None = None,
        normalize: bool = True,
    ) -> dict[str, Any]:
        """Turn texts into vectors whose dot product says how alike they are.

        Args:
            texts: what to embed; each is cut at the model's limit.
            pooling: how token vectors become one; default: mean for encoders, last for others.
            normalize: scale each vector to length 1.
        """
        if not texts:
            raise InvalidArguments("texts is empty", hint="give at least one text")
        resident = await self._model(context, model, kind="encoder")
        is_encoder = resident.stored.kind == "encoder"
        codec = resident.codec

        def encode() -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(codec.encode(text, special=True)) for text in texts)

        is_long = sum(map(len, texts)) >= LONG_CHARACTERS
        inputs = await on_pool(self._services, context, encode) if is_long else encode()
        with self._services.requests.track(context.pid) as request_id:
            embedded = await self._services.engine.embed(
                Embed(
                    request_id=request_id,
                    model=resident.name,
                    inputs=inputs,
                    pooling=pooling or ("mean" if is_encoder else "last"),
                    normalize=normalize,
                    priority=self._services.processes.get(context.pid).priority,
                    pid=context.pid,
                    tenant=context.principal.tenant,
                )
            )
        self._services.processes.charge(context.pid, tokens=embedded.prompt_tokens)
        return {
            "vectors": [list(vector) for vector in embedded.vectors],
            "dimensions": len(embedded.vectors[0]),
            "model": resident.name,
            "usage": {"prompt_tokens": embedded.prompt_tokens},
        }

    @syscall("llm.tokenize", cost="io")
    async def tokenize(
        self, context: Context, text: str, model: ModelName = None, special: bool = False
    ) -> dict[str, Any]:
        """Show how a model splits a text into tokens.

        Args:
            text: the text to split.
            special: add the model's begin and end tokens.
        """
        residency = self._services.residency
        stored = await residency.find(model, on_progress=pull_progress(context))
        codec = await residency.codec(stored)

        def split() -> dict[str, Any]:
            ids = codec.encode(text, special=special)
            tokens = [codec.token_text(token_id) for token_id in ids]
            return {"ids": ids, "tokens": tokens, "count": len(ids), "model": stored.name}

        if len(text) < LONG_CHARACTERS:
            return split()
        return await on_pool(self._services, context, split)

    @syscall("llm.detokenize", cost="io")
    async def detokenize(
        self, context: Context, ids: list[int], model: ModelName = None
    ) -> dict[str, Any]:
        """Turn token ids back into text.

        Args:
            ids: token ids of the model.
        """
        residency = self._services.residency
        stored = await residency.find(model, on_progress=pull_progress(context))
        codec = await residency.codec(stored)
        wrong = [token_id for token_id in ids if not 0 <= token_id < codec.vocabulary]
        if wrong:
            raise InvalidArguments(
                f"token id {wrong[0]} is outside the vocabulary of {stored.name}",
                hint=f"ids go from 0 to {codec.vocabulary - 1}",
            )
        return {"text": codec.decode(ids), "model": stored.name}

    @syscall("llm.score", cost="engine")
    async def score(
        self,
        context: Context,
        text: str,
        given: str = "",
        model: ModelName = None,
        top: Annotated[int, Field(ge=0, le=20)] = 0,
    ) -> dict[str, Any]:
        """Say how likely a text is to the model, token by token.

        Args:
            text: the text to score.
            given: what stands before it; not scored.
            top: how many likelier tokens to list at each position.
        """
        resident = await self._model(context, model)
        codec = resident.codec
        before = codec.encode(given, special=True) if given else []
        after = partial(codec.encode, text, special=not given)
        ids = before + await encoded(self._services, context, resident, text, after)
        if len(ids) < 2:
            raise EmptyPrompt("there is nothing to score", hint="give at least two tokens")
        params = SamplingParams(
            max_tokens=0, prompt_logprobs=top, prompt_logprobs_from=max(1, len(before))
        )
        choices = await self._services.generator.run(context, resident, ids, params)
        scored = choices[0].prompt_logprobs
        total = math.fsum(item.logprob for item in scored)
        return {
            "logprob": total,
            "perplexity": math.exp(-total / len(scored)),
            "tokens": [describe_logprob(item, codec) for item in scored],
            "model": resident.name,
        }

    @syscall("llm.classify", cost="engine")
    async def classify(
        self,
        context: Context,
        text: str,
        labels: Annotated[list[str], Field(min_length=2)],
        question: str = "Topic",
        model: ModelName = None,
        calibrate: bool = True,
    ) -> Classification:
        """Choose the label that the model finds most likely for a text (zero-shot).

        Each label is scored after the text and the question, by its mean log-probability per
        token; calibration subtracts what it has without the text (domain-conditional PMI,
        Holtzman et al. 2021).

        Args:
            text: the text to classify.
            labels: the labels to choose from.
            question: what the label is, in a word or two, such as Topic or Sentiment.
            calibrate: correct for labels that the model likes in general.
        """
        if not text.strip():
            raise EmptyPrompt("there is nothing to classify", hint="give some text")
        resident = await self._model(context, model)
        asked = [text, "N/A"] if calibrate else [text]
        prompts = [
            await encoded(
                self._services,
                context,
                resident,
                each,
                partial(_label_prompt, resident, question, each),
            )
            for each in asked
        ]
        # All at once: the engine computes what they have in common only once.
        totals = await asyncio.gather(
            *(self._label(context, resident, prompt, x) for prompt in prompts for x in labels)
        )
        scores = list(totals[: len(labels)])
        if calibrate:
            scores = [s - prior for s, prior in zip(scores, totals[len(labels) :], strict=True)]
        best = max(scores)
        weights = [math.exp(score - best) for score in scores]
        shares = {x: w / math.fsum(weights) for x, w in zip(labels, weights, strict=True)}
        return Classification(
            label=max(shares, key=lambda x: shares[x]), scores=shares, model=resident.name
        )

    async def _label(
        self, context: Context, resident: Resident, prompt: list[int], label: str
    ) -> float:
        """The mean log-probability per token (nats) of the label after the prompt."""
        ids = resident.codec.encode(f" {label}")
        params = SamplingParams(max_tokens=0, prompt_logprobs=0, prompt_logprobs_from=len(prompt))
        choices = await self._services.generator.run(context, resident, prompt + ids, params)
        return math.fsum(item.logprob for item in choices[0].prompt_logprobs) / len(ids)


class Classification(BaseModel):
    """The chosen label, with each label's share of the probability."""

    model_config = ConfigDict(frozen=True)

    label: str
    scores: dict[str, float]
    model: str


def _label_prompt(resident: Resident, question: str, text: str) -> list[int]:
    """Plain text, as in a book: small models know better what follows there than in a chat."""
    return resident.codec.encode(f'"{text}"\n{question}:', special=True)
