"""Asking the model one thing and streaming what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lingos_kernel import Context, Item, Result
from lingos_kernel.errors import from_wire
from lingos_kernel.syscalls.events import Failure, Progress


async def ask_model(context: Context, prompt: str, **options: Any) -> dict[str, Any]:
    """The result of `llm.chat` for one user message."""
    messages = [{"role": "user", "content": prompt}]
    answer: dict[str, Any] = await context.call("llm.chat", messages=messages, **options)
    return answer


async def stream_model(context: Context, prompt: str, **options: Any) -> AsyncIterator[Any]:
    """The text pieces of an answer, then `Result` with the result of `llm.chat`."""
    messages = [{"role": "user", "content": prompt}]
    async for event in context.stream("llm.chat", messages=messages, **options):
        if isinstance(event, Item | Result):
            yield event.data if isinstance(event, Item) else event
        elif isinstance(event, Progress):
            context.progress(event.done, event.total, unit=event.unit, label=event.label)
        elif isinstance(event, Failure):
            raise from_wire(event.error)


async def context_tokens(context: Context, model: str | None) -> int:
    """How many tokens the model can take in."""
    shown = await context.call("model.show", name=model)
    return int(shown["context_tokens"])
