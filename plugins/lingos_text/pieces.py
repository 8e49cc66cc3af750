"""`text.chunk` and `text.similarity`: splitting texts and comparing them."""

from __future__ import annotations

import asyncio
import math
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import Field

from lingos_kernel import Context, syscall
from lingos_text.chunking import Chunk, chunks
from lingos_text.reading import File, Model, Text, read

PIECES_AT_ONCE = 16
"""A long text has thousands: all at once, they would keep the kernel from everything else."""


async def split(
    context: Context, text: str, *, limit: int, overlap: int = 0, model: str | None = None
) -> list[Chunk]:
    """Chunks of at most `limit` tokens as the model counts them."""
    loop = asyncio.get_running_loop()

    def count(pieces: list[str]) -> list[int]:
        counted = asyncio.run_coroutine_threadsafe(_count(context, pieces, model), loop)
        return counted.result()

    return await asyncio.to_thread(chunks, text, count, limit=limit, overlap=overlap)


async def _count(context: Context, pieces: list[str], model: str | None) -> list[int]:
    counts: list[int] = []
    for begin in range(0, len(pieces), PIECES_AT_ONCE):
        results = await asyncio.gather(
            *(
                context.call("llm.tokenize", text=piece, model=model)
                for piece in pieces[begin : begin + PIECES_AT_ONCE]
            )
        )
        counts += [int(result["count"]) for result in results]
    return counts


@syscall("text.chunk", cost="io")
async def chunk(
    context: Context,
    text: Text = None,
    file: File = None,
    tokens: Annotated[int, Field(ge=1, description="most tokens of one chunk")] = 400,
    overlap: Annotated[int, Field(ge=0, description="tokens repeated from the one before")] = 40,
    model: Model = None,
) -> list[dict[str, Any]]:
    """Split a text at sentences into chunks of a bounded number of tokens.

    Each chunk says where it stands: its text is the whole text from start to end.
    """
    content = await read(text, file)
    found = await split(context, content, limit=tokens, overlap=overlap, model=model)
    return [asdict(each) for each in found]


@syscall("text.similarity", cost="engine")
async def similarity(context: Context, a: str, b: str, model: Model = None) -> float:
    """Say how alike two texts are in meaning: 1 is the same, 0 unrelated.

    Args:
        a: the first text.
        b: the second text.
        model: an embedding model; the configured embedder when not given.
    """
    vectors = (await context.call("llm.embed", texts=[a, b], model=model))["vectors"]
    return dot(vectors[0], vectors[1])


def dot(a: list[float], b: list[float]) -> float:
    """The dot product; for vectors of length 1 it is their cosine."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))
