"""`text.summarize`: short from long, by map and reduce."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import Field

from lingos_kernel import Context, Result, syscall
from lingos_text.pieces import split
from lingos_text.reading import File, Model, Text, read
from lingos_text.talking import ask_model, context_tokens, stream_model

CHUNK_TOKENS = 500
"""Small models lose the thread in longer pieces."""

PROMPT = (
    "Here is a text:\n\n{text}\n\nSummarize the text above in plain words, in at most {sentences}"
    " sentences. Say what it is about. Write no code."
)
"""The task comes last: small models forget what stands before a long text."""
PARALLEL = 8


@syscall("text.summarize", cost="engine", timeout_s=1_800)
async def summarize(
    context: Context,
    text: Text = None,
    file: File = None,
    sentences: Annotated[int, Field(ge=1, le=50, description="most sentences to write")] = 3,
    model: Model = None,
) -> AsyncIterator[Any]:
    """Summarize a text of any length.

    A text that is longer than the model takes in at once is split; the parts are summarized side
    by side, then their summaries, until one is left. Streams the last summary as it is written.
    `is_cut` says that the summaries did not get shorter, so that only the first were read.
    """
    content = await read(text, file)
    limit = min(CHUNK_TOKENS, await context_tokens(context, model) // 2)
    rounds = 0
    is_cut = False
    parts = [each.text for each in await split(context, content, limit=limit, model=model)]
    first_parts = len(parts)
    while len(parts) > 1:
        rounds += 1
        shorter = "\n\n".join(await _map(context, parts, sentences, model))
        again = [each.text for each in await split(context, shorter, limit=limit, model=model)]
        if len(again) >= len(parts):  # summaries as long as their parts: there is no end to it
            is_cut = True
            again = again[:1]
        parts = again
    prompt = PROMPT.format(sentences=sentences, text=parts[0])
    options = {"model": model, "max_tokens": 60 * sentences, "frequency_penalty": 0.2}
    async for piece in stream_model(context, prompt, **options):
        if not isinstance(piece, Result):
            yield piece
            continue
        yield Result(
            {
                "text": piece.data["text"].strip(),
                "parts": first_parts,
                "rounds": rounds,
                "is_cut": is_cut,
                "model": piece.data["model"],
                "usage": piece.data["usage"],
            }
        )


async def _map(context: Context, parts: list[str], sentences: int, model: str | None) -> list[str]:
    """Each part's own summary, in order."""
    slots = asyncio.Semaphore(PARALLEL)
    done = 0

    async def one(part: str) -> str:
        nonlocal done
        async with slots:
            prompt = PROMPT.format(sentences=sentences, text=part)
            answer = await ask_model(
                context, prompt, model=model, max_tokens=60 * sentences, frequency_penalty=0.2
            )
        done += 1
        context.progress(done, len(parts), unit="parts", label="summarizing")
        return str(answer["text"]).strip()

    return list(await asyncio.gather(*(one(part) for part in parts)))
