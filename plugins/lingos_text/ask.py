"""`text.ask`: a question about a text or file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import Field

from lingos_kernel import Context, Result, syscall
from lingos_text.chunking import Chunk
from lingos_text.pieces import dot, split
from lingos_text.reading import File, Model, Text, read
from lingos_text.talking import stream_model

CHUNK_TOKENS = 250
PROMPT = (
    "Answer the question from the text alone. If the text does not tell, say so.\n\n"
    "Text:\n{text}\n\nQuestion: {question}"
)


@syscall("text.ask", cost="engine", timeout_s=1_800)
async def ask(
    context: Context,
    question: str,
    text: Text = None,
    file: File = None,
    passages: Annotated[int, Field(ge=1, le=20, description="how many passages to read")] = 4,
    model: Model = None,
) -> AsyncIterator[Any]:
    """Answer a question about a text or file, naming the passages it read.

    The text is split; the passages nearest to the question in meaning are given to the model, in
    their order in the text. The result lists them with their positions.

    Args:
        question: what to find out.
    """
    content = await read(text, file)
    found = await split(context, content, limit=CHUNK_TOKENS, overlap=30, model=model)
    if len(found) > passages:
        found = await _nearest(context, question, found, passages)
    prompt = PROMPT.format(
        text="\n…\n".join(each.text.strip() for each in found), question=question
    )
    async for piece in stream_model(context, prompt, model=model, max_tokens=300):
        if isinstance(piece, Result):
            sources = [{"start": each.start, "end": each.end} for each in found]
            yield Result({**piece.data, "text": piece.data["text"].strip(), "sources": sources})
        else:
            yield piece


async def _nearest(context: Context, question: str, found: list[Chunk], count: int) -> list[Chunk]:
    """The chunks nearest to the question, in their order in the text."""
    texts = [question, *(each.text for each in found)]
    vectors = (await context.call("llm.embed", texts=texts))["vectors"]
    scores = [dot(vectors[0], vector) for vector in vectors[1:]]
    best = sorted(range(len(found)), key=lambda i: -scores[i])[:count]
    return [found[i] for i in sorted(best)]
