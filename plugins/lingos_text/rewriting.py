"""`text.translate` and `text.rewrite`: the same content in other words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from lingos_kernel import Context, Result, syscall
from lingos_text.pieces import split
from lingos_text.reading import File, Model, Text, read
from lingos_text.talking import context_tokens, stream_model

CHUNK_TOKENS = 600
"""The answer is about as long as the text, and both must fit."""


@syscall("text.translate", cost="engine", timeout_s=1_800)
async def translate(
    context: Context,
    to: str,
    text: Text = None,
    file: File = None,
    source: str | None = None,
    model: Model = None,
) -> AsyncIterator[Any]:
    """Translate a text, paragraph by paragraph, into another language.

    Args:
        to: the language to translate into, such as French.
        source: the language of the text, when it should not be guessed.
    """
    come_from = f" from {source}" if source else ""
    task = f"Translate the text{come_from} into {to}. Answer with the translation only."
    async for item in _by_chunks(context, task, await read(text, file), model):
        yield item


@syscall("text.rewrite", cost="engine", timeout_s=1_800)
async def rewrite(
    context: Context,
    instruction: str,
    text: Text = None,
    file: File = None,
    model: Model = None,
) -> AsyncIterator[Any]:
    """Rewrite a text as told, keeping what it says.

    Args:
        instruction: how to change it, such as "shorter and friendlier".
    """
    task = f"Rewrite the text: {instruction}. Keep its meaning. Answer with the new text only."
    async for item in _by_chunks(context, task, await read(text, file), model):
        yield item


async def _by_chunks(
    context: Context, task: str, content: str, model: str | None
) -> AsyncIterator[Any]:
    """Stream the answer to the task for each chunk in order, then the whole."""
    limit = min(CHUNK_TOKENS, await context_tokens(context, model) // 3)
    parts = await split(context, content, limit=limit, model=model)
    whole: list[str] = []
    output_tokens = 0
    for number, part in enumerate(parts):
        prompt = f"{task}\n\nText:\n{part.text.strip()}"
        if number:
            yield {"text": "\n"}
        async for piece in stream_model(context, prompt, model=model, max_tokens=2 * limit):
            if isinstance(piece, Result):
                whole.append(piece.data["text"].strip())
                output_tokens += piece.data["usage"]["output_tokens"]
            else:
                yield piece
        context.progress(number + 1, len(parts), unit="parts", label="writing")
    yield Result(
        {"text": "\n".join(whole), "parts": len(parts), "usage": {"output_tokens": output_tokens}}
    )
