"""Tool calls: which syscalls a model is offered, how it writes a call, how that is forced valid.

A call is written `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, the form that Qwen,
Hermes and SmolLM2 are trained on. Text may come first; several calls may follow each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from lingos_kernel.errors import UnknownSyscall
from lingos_kernel.syscalls.spec import SyscallInfo

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_JSON = json.JSONDecoder()

INSTRUCTIONS = """\
You may call tools. To call one, write
<tool_call>{{"name": "NAME", "arguments": {{...}}}}</tool_call>
and nothing after it; you will be told the result. Tools:
{tools}"""


class ToolCall(msgspec.Struct, frozen=True):
    """One call as the model wrote it."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolBox:
    """The syscalls that a model may call in one conversation."""

    tools: tuple[SyscallInfo, ...]

    @classmethod
    def choose(cls, infos: Iterable[SyscallInfo], patterns: Sequence[str]) -> ToolBox:
        """The syscalls whose names match a pattern; raises `UnknownSyscall` for one that fits none.

        `infos` holds only what the caller itself may call.
        """
        known = list(infos)
        for pattern in patterns:
            if not any(fnmatchcase(info.name, pattern) for info in known):
                raise UnknownSyscall(
                    f"no syscall that you may call matches the tool {pattern!r}",
                    hint="lingos syscalls lists them",
                )
        chosen = [i for i in known if any(fnmatchcase(i.name, p) for p in patterns)]
        return cls(tuple(chosen))

    def schemas(self) -> list[dict[str, Any]]:
        """The tools as chat templates take them (the OpenAI function form)."""
        return [
            {
                "type": "function",
                "function": {
                    "name": info.name,
                    "description": info.summary,
                    "parameters": dict(info.arguments),
                },
            }
            for info in self.tools
        ]

    def grammar(self, *, required: bool) -> str:
        """A Lark grammar of text and valid calls; `required` admits calls only."""
        one_of = {"anyOf": [_call_schema(info) for info in self.tools]}
        start = "call+" if required else "TEXT call*"
        return (
            f"start: {start}\n"
            f"TEXT: /(?s:.*)/ & ~/(?s:.*){OPEN}(?s:.*)/\n"
            f'call: "{OPEN}" body "{CLOSE}" "\\n"?\n'
            f"body: %json {json.dumps(one_of)}\n"
        )

    def instruct(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The conversation with the tools described in its system message.

        For chat templates that know no tools; tool results become user messages there.
        """
        lines = "\n".join(json.dumps(schema["function"]) for schema in self.schemas())
        text = INSTRUCTIONS.format(tools=lines)
        told = [_as_user(message) for message in history]
        if told and told[0]["role"] == "system":
            return [{"role": "system", "content": f"{told[0]['content']}\n\n{text}"}, *told[1:]]
        return [{"role": "system", "content": text}, *told]

    @staticmethod
    def parse(text: str) -> list[ToolCall]:
        """The calls in what the model wrote.

        One that a token limit cut short is not there: it was never closed.
        """
        calls: list[ToolCall] = []
        at = text.find(OPEN)
        while at >= 0:
            try:
                body, end = _JSON.raw_decode(text, at + len(OPEN))
            except ValueError:
                break
            if not text.startswith(CLOSE, end):
                break
            calls.append(msgspec.convert(body, ToolCall))
            at = text.find(OPEN, end)
        return calls

    @staticmethod
    def strip_calls(text: str) -> str:
        """The text without its calls."""
        return text.split(OPEN, 1)[0]

    @staticmethod
    def visible_text() -> VisibleText:
        """A filter for streamed text that hides calls."""
        return VisibleText()


class VisibleText:
    """Passes streamed text on up to the first call, holding back what may become its mark."""

    def __init__(self) -> None:
        self._held = ""
        self._hidden = False

    def push(self, text: str) -> str:
        """The part that can be shown by now."""
        if self._hidden:
            return ""
        self._held += text
        if OPEN in self._held:
            self._hidden = True
            return self._held.split(OPEN, 1)[0]
        keep = next((n for n in range(len(OPEN) - 1, 0, -1) if self._held.endswith(OPEN[:n])), 0)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, now that nothing follows."""
        return "" if self._hidden else self._held


def _as_user(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] != "tool":
        return message
    content = f"Result of {message.get('name', 'the tool')}: {message['content']}"
    return {"role": "user", "content": content}


def _call_schema(info: SyscallInfo) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": info.name}, "arguments": _local(dict(info.arguments))},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _local(schema: dict[str, Any]) -> Any:
    """The schema with its `$defs` put in place, since references do not survive embedding.

    Where a definition holds itself anything is let through; the call's validation decides.
    """
    definitions = schema.pop("$defs", {})

    def resolve(node: Any, inside: tuple[str, ...] = ()) -> Any:
        if isinstance(node, list):
            return [resolve(value, inside) for value in node]
        if not isinstance(node, dict):
            return node
        name = str(node.get("$ref", "")).removeprefix("#/$defs/")
        if name in inside:
            return {}
        if name in definitions:
            return resolve(definitions[name], (*inside, name))
        return {key: resolve(value, inside) for key, value in node.items()}

    return resolve(schema)
