"""Asking a model: from a command's options to the arguments of `llm.chat`, and the answer shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.names import did_you_mean
from lingos_shell.arguments import Schema, convert
from lingos_shell.output import narrate, write

NOT_OPTIONS = frozenset({"messages", "model", "tools"})
"""Arguments of `llm.chat` that have an option or argument of their own."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What a person may choose about an answer; None leaves a choice to the kernel."""

    model: str | None = None
    system: str | None = None
    tools: tuple[str, ...] = ()
    sampling: Mapping[str, Any] | None = None
    """Named as in `llm.chat`, already typed."""
    typed_later: tuple[tuple[str, str], ...] = ()
    """`-o name value` pairs, typed by the schema that the kernel gives."""

    async def arguments(
        self, client: KernelClient, messages: Iterable[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The arguments of `llm.chat` for a conversation. Raises `InvalidArguments`."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        arguments: dict[str, Any] = {"messages": [*system, *messages]}
        if self.model:
            arguments["model"] = self.model
        if self.tools:
            arguments["tools"] = list(self.tools)
        arguments.update(self.sampling or {})
        if self.typed_later:
            infos = await client.syscalls()
            schema = next(info.arguments for info in infos if info.name == "llm.chat")
            arguments.update(typed_options(self.typed_later, schema))
        return arguments


def typed_options(pairs: Iterable[tuple[str, str]], schema: Schema) -> dict[str, Any]:
    """`-o name value` pairs with values of the schema's types. Raises `InvalidArguments`."""
    properties = {k: v for k, v in schema["properties"].items() if k not in NOT_OPTIONS}
    typed: dict[str, Any] = {}
    for given, text in pairs:
        name = given.replace("-", "_")
        if name not in properties:
            raise InvalidArguments(
                f"no sampling option is called {given!r}",
                hint=did_you_mean(name, properties, otherwise=", ".join(properties)),
            )
        value = convert(name, text, properties[name], schema)
        if isinstance(value, list) and name in typed:
            value = typed[name] + value
        elif isinstance(value, dict) and name in typed:
            value = {**typed[name], **value}
        typed[name] = value
    return typed


class AnswerPrinter:
    """Writes an answer's text to stdout as it comes, and tool calls to stderr."""

    def __init__(self) -> None:
        self._at_line_start = True
        self._seen_text = False

    def item(self, data: Any) -> None:
        """Show one streamed item of `llm.chat`."""
        match data:
            case {"text": str(text)}:
                self._text(text)
            case {"tool_call": {"name": name, "arguments": arguments}}:
                self._narrate(f"[{name}({json.dumps(arguments, ensure_ascii=False)[1:-1]})]")
            case {"tool_result": {"error": {"message": message}, "name": name}}:
                self._narrate(f"[{name} failed: {message}]")
            case {"tool_result": {"name": name}}:
                self._narrate(f"[{name} is done]")

    def narrate_tools(self, data: Any) -> None:
        """Show an item unless it is text."""
        if "text" not in data:
            self.item(data)

    def finish(self) -> None:
        """End the last line, whether the answer came to its end or not."""
        if not self._at_line_start:
            write("\n")
            self._at_line_start = True

    def _text(self, text: str) -> None:
        if not self._seen_text:
            text = text.lstrip()  # some chat templates make the answer begin with a blank
            self._seen_text = bool(text)
        if text:
            write(text)
            self._at_line_start = text.endswith("\n")

    def _narrate(self, text: str) -> None:
        self.finish()
        narrate(text)


def choices_text(result: Mapping[str, Any]) -> str:
    """The text of a result; several choices are told apart by lines of `---`."""
    choices = result.get("choices") or []
    if len(choices) < 2:
        return str(result["text"]).strip()
    return "\n---\n".join(str(choice["text"]).strip() for choice in choices)


def warn_if_cut(result: Mapping[str, Any]) -> None:
    """Say on stderr when a token limit ended the answer."""
    if result.get("finish_reason") == "length":
        tokens = result.get("usage", {}).get("output_tokens", 0)
        narrate(f"lingos: the answer was cut after {tokens} tokens; allow more with --max-tokens")
