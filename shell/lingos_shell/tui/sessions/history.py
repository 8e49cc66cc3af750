"""A conversation as the kernel keeps it, as entries of a transcript."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lingos_shell.tui.sessions.answer import Answer
from lingos_shell.tui.sessions.branches import start_of
from lingos_shell.tui.sessions.entries import Entry, Note, UserMessage
from lingos_shell.tui.sessions.tools import ToolBlock

_REASONING = ("reasoning_content", "thinking", "reasoning")


def entries_of(messages: Sequence[Mapping[str, Any]], first: int = 0) -> list[Entry]:
    """One entry or more per message from the `first` on, in order.

    Results of tools are in the blocks of their calls.
    """
    made: list[Entry] = []
    for place in range(first, len(messages)):
        message = messages[place]
        text = str(message.get("content") or "")
        match message["role"]:
            case "user":
                made.append(UserMessage(text, at=start_of(messages, place)))
            case "assistant":
                made += _said(message, text)
            case "tool":
                made.append(_returned(made, message, text))
            case role:
                made.append(Note(f"{role}: {text}"))
    return [entry for n, entry in enumerate(made) if entry not in made[:n]]


def _said(message: Mapping[str, Any], text: str) -> list[Entry]:
    reasoning = next((str(message[name]) for name in _REASONING if message.get(name)), "")
    said: list[Entry] = [Answer(text.strip(), reasoning=reasoning)] if text or reasoning else []
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        said.append(ToolBlock(str(function.get("name", "?")), _arguments(function)))
    return said


def _arguments(function: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            return {"arguments": arguments}
    return arguments if isinstance(arguments, Mapping) else {"arguments": arguments}


def _returned(made: Sequence[Entry], message: Mapping[str, Any], text: str) -> Entry:
    """The block of the first call that waits for a result, with this one in it."""
    name = str(message.get("name") or "")
    waiting = (
        entry
        for entry in made
        if isinstance(entry, ToolBlock) and entry.is_waiting and name in ("", entry.tool)
    )
    block = next(waiting, None) or ToolBlock(name or "tool", {})
    block.set_result(text)
    return block
