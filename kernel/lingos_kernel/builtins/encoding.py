"""Tokenizing beside the event loop: one caller's long text must not hold up the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from lingos_kernel.builtins.services import Services
from lingos_kernel.engine.residency import Resident
from lingos_kernel.errors import PromptTooLong
from lingos_kernel.models.text_codec import LONG_CHARACTERS
from lingos_kernel.syscalls.spec import Context

__all__ = ["LONG_CHARACTERS", "encoded", "on_pool"]

MOST_CHARACTERS_PER_TOKEN = 256
"""No vocabulary has longer tokens than some line of blanks or dashes."""

T = TypeVar("T")
Encode = Callable[[], list[int]]


async def encoded(
    services: Services, call: Context, model: Resident, text: int | str, encode: Encode
) -> list[int]:
    """What `encode` makes of a text (or so many characters), on the pool when that takes a while.

    Raises `PromptTooLong` at once for what cannot fit into the model's context.
    """
    characters = text if isinstance(text, int) else len(text)
    if characters < LONG_CHARACTERS:
        return encode()
    context_tokens = model.stored.context_tokens
    if 0 < context_tokens * MOST_CHARACTERS_PER_TOKEN < characters:
        raise PromptTooLong(
            f"the prompt has {characters} characters, and {model.name} takes"
            f" {context_tokens} tokens",
            hint="shorten the prompt, or choose a model with a longer context",
        )
    return await on_pool(services, call, encode)


async def on_pool(services: Services, call: Context, function: Callable[[], T]) -> T:
    """The function's result, computed on a pool thread: the loop serves others meanwhile."""
    future = services.pool.submit(function, syscall="tokenize", pid=call.pid)
    return await asyncio.wrap_future(future)
