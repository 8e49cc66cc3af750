"""A conversation turn, with the tool calls the model makes on the way to its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict

from lingos_kernel.builtins.encoding import LONG_CHARACTERS, encoded
from lingos_kernel.builtins.generation import (
    Choice,
    describe_choice,
    new_choices,
    usage_of,
)
from lingos_kernel.builtins.holds import Hold
from lingos_kernel.builtins.services import Services
from lingos_kernel.builtins.tools import ToolBox, ToolCall
from lingos_kernel.builtins.transcript import Transcript
from lingos_kernel.engine.messages import Grammar, SamplingParams
from lingos_kernel.engine.residency import Resident
from lingos_kernel.errors import InvalidArguments, LingOSError, to_wire
from lingos_kernel.syscalls.events import Result
from lingos_kernel.syscalls.spec import Context

RESULT_CHARACTERS = 8_000
"""A tool's result is cut at this length, and says so, before the model reads it."""


class Message(BaseModel):
    """One message of a conversation, as in the chat templates of Hugging Face."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "user", "assistant", "tool", "developer"]
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The text parts of the message, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(str(part.get("text", "")) for part in self.content or [])

    def for_template(self) -> dict[str, Any]:
        """The message as a chat template reads it: content is plain text."""
        extra = self.model_extra or {}
        return {"role": self.role, "content": self.text(), **extra}


class Chat:
    """One call of `llm.chat`: turns of the model, each a generation, until it has answered."""

    def __init__(
        self,
        services: Services,
        context: Context,
        model: Resident,
        params: SamplingParams,
        transcript: Transcript | None = None,
        hold: Hold | None = None,
    ) -> None:
        """`transcript`: what was said before, which the turn is added to; `hold`: its pages."""
        self._transcript = transcript or Transcript(model.codec)
        self._services = services
        self._context = context
        self._model = model
        self._params = params
        self._tools: ToolBox | None = None
        self._tools_required = False
        self._hold = hold
        self._calls: list[dict[str, Any]] = []
        self._usages: list[dict[str, Any]] = []

    def offer(self, patterns: list[str], choice: Literal["auto", "required", "none"]) -> None:
        """Let the model call the syscalls that match, as far as the caller may itself."""
        if self._params.grammar is not None:
            raise InvalidArguments(
                "tools cannot be combined with schema, regex or ebnf",
                hint="ask for the structured answer in a second call",
            )
        if self._params.n > 1:
            raise InvalidArguments("tools need n = 1", hint="leave n out, or leave tools out")
        infos = self._services.table.infos(self._context.principal)
        self._tools = ToolBox.choose(infos, patterns)
        self._transcript.tools = self._tools
        self._tools_required = choice == "required"

    async def run(self, messages: list[Message], *, max_steps: int) -> AsyncIterator[Any]:
        """Stream the turn: text pieces, tool calls and their results, then the result."""
        try:
            async for piece in self._turns(messages, max_steps):
                yield piece
        finally:
            self._services.holds.release(self._hold)

    async def _turns(self, messages: list[Message], max_steps: int) -> AsyncIterator[Any]:
        transcript = self._transcript
        transcript.say([message.for_template() for message in messages])
        choices: list[Choice] = []
        for step in range(max_steps):
            is_last = step == max_steps - 1
            choices = new_choices(self._params)
            async for piece in self._generate(choices, may_call=not is_last):
                yield piece
            transcript.answered(choices[0].token_ids, choices[0].text)
            self._usages.append(usage_of(choices))
            calls = self._tools.parse(choices[0].text) if self._tools and not is_last else []
            if not calls:
                break
            for call in calls:
                yield {"tool_call": msgspec.to_builtins(call)}
            self._keep_pages(calls)
            results = await asyncio.gather(*(self._execute(call) for call in calls))
            for call, result in zip(calls, results, strict=True):
                yield {"tool_result": result}
                self._calls.append({**msgspec.to_builtins(call), "result": result})
            transcript.say(_as_messages(calls, results))
        yield Result(self._result(choices))

    async def _generate(
        self, choices: list[Choice], *, may_call: bool
    ) -> AsyncIterator[dict[str, Any]]:
        tools = self._tools
        params = self._params
        if tools is not None and may_call:
            required = self._tools_required and not self._calls
            grammar = Grammar("ebnf", tools.grammar(required=required))
            params = msgspec.structs.replace(params, grammar=grammar)
        transcript = self._transcript
        size = LONG_CHARACTERS if transcript.is_kept else transcript.new_characters
        prompt_ids = await encoded(
            self._services, self._context, self._model, size, transcript.prompt
        )
        visible = ToolBox.visible_text() if tools is not None and may_call else None
        hold_id = self._services.holds.hand_over(self._hold)
        stream = self._services.generator.stream(
            self._context, self._model, prompt_ids, params, choices, hold_id=hold_id
        )
        async for output in stream:
            text = visible.push(output.text) if visible else output.text
            if text:
                yield {"text": text, **({"choice": output.choice} if output.choice else {})}
        if visible and (rest := visible.finish()):
            yield {"text": rest}

    def _keep_pages(self, calls: list[ToolCall]) -> None:
        """Hold the conversation's pages for as long as the tools usually take."""
        services, names = self._services, [call.name for call in calls]
        services.holds.release(self._hold)
        self._hold = None
        if for_s := services.tool_times.hold_s(names):
            self._hold = services.holds.keep(
                self._context,
                self._model.name,
                self._transcript.tokens,
                for_s=for_s,
                why=", ".join(names),
            )

    async def _execute(self, call: ToolCall) -> dict[str, Any]:
        """A tool call's outcome; an error is a result too, for the model to read."""
        running = self._context.start_tool(call.name, call.arguments)
        try:
            with self._services.tool_times.measured(call.name):
                return {"name": call.name, "value": await running.result()}
        except LingOSError as error:
            return {"name": call.name, "error": to_wire(error)}

    def _result(self, choices: list[Choice]) -> dict[str, Any]:
        first = choices[0]
        text = ToolBox.strip_calls(first.text) if self._tools else first.text
        totals = self._usages[-1].copy()
        for key in ("prompt_tokens", "output_tokens", "cached_tokens", "total_s", "preemptions"):
            totals[key] = sum(usage.get(key, 0) for usage in self._usages)
        totals["first_token_s"] = self._usages[0]["first_token_s"] if self._usages else None
        return {
            "text": text,
            "model": self._model.name,
            "finish_reason": first.finish_reason,
            "choices": [describe_choice(choice, self._model.codec) for choice in choices],
            "tool_calls": self._calls,
            "steps": len(self._usages),
            "usage": totals,
            "seed": self._params.seed,
        }


def _as_messages(calls: list[ToolCall], results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What came back from the tools, as messages."""
    messages = []
    for call, result in zip(calls, results, strict=True):
        shown = json.dumps(result.get("value", result.get("error")), ensure_ascii=False)
        if len(shown) > RESULT_CHARACTERS:
            cut = len(shown) - RESULT_CHARACTERS
            shown = f"{shown[:RESULT_CHARACTERS]}… ({cut} characters cut)"
        messages.append({"role": "tool", "name": call.name, "content": shown})
    return messages
