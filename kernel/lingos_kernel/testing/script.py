"""What a scripted engine answers: replies by prompt, or a function of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lingos_kernel.engine.messages import Generate


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a script gets to see of a request."""

    text: str
    """All of it, with control tokens."""
    user: str
    """The last user message of a chat; all of the text when it is none."""
    request: Generate


Reply = str | Exception
"""What to say, or how to end: a `LingOSError` fails the request, another one the engine."""

Script = Mapping[str, Reply] | Callable[[Prompt], Reply]
"""Replies by prompt: a key is a whole user message, else the first key found in the prompt
counts; a prompt without one is echoed. Or a function."""

_LAST_USER = re.compile(r".*<\|im_start\|>user\n(.*?)<\|im_end\|>", re.DOTALL)


def echo(prompt: Prompt) -> Reply:
    """The last user message again; with a JSON schema, the least value that meets it."""
    grammar = prompt.request.params.grammar
    if grammar and grammar.kind == "json":
        return json.dumps(least_value(json.loads(grammar.text)))
    return prompt.user


def least_value(schema: Mapping[str, Any]) -> Any:
    """A short value that meets a plain JSON schema (type, enum, const, properties, items)."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            return {name: least_value(properties.get(name, {})) for name in properties}
        case "array":
            return [least_value(schema.get("items", {}))] * schema.get("minItems", 0)
        case "string":
            return "x" * schema.get("minLength", 0)
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
    return None


def reply_to(script: Script, request: Generate, text: str) -> Reply:
    """The script's reply to a request whose whole prompt is `text`."""
    found = _LAST_USER.match(text)
    prompt = Prompt(text=text, user=found[1] if found else text, request=request)
    return script(prompt) if callable(script) else _look_up(script, prompt)


def _look_up(script: Mapping[str, Reply], prompt: Prompt) -> Reply:
    if prompt.user in script:
        return script[prompt.user]
    return next((reply for key, reply in script.items() if key in prompt.text), echo(prompt))
