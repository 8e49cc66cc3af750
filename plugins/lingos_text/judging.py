"""`text.classify` and `text.sentiment`: which label fits."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from lingos_kernel import Context, syscall
from lingos_text.reading import File, Model, Text, read

SENTIMENTS = ["positive", "negative", "neutral"]


@syscall("text.classify", cost="engine")
async def classify(
    context: Context,
    labels: Annotated[list[str], Field(min_length=2, description="the labels to choose from")],
    text: Text = None,
    file: File = None,
    question: str = "Topic",
    model: Model = None,
) -> dict[str, Any]:
    """Choose the label that fits a text, without training.

    Args:
        question: what the label is, in a word or two.
    """
    content = await read(text, file)
    result: dict[str, Any] = await context.call(
        "llm.classify", text=content, labels=labels, question=question, model=model
    )
    return result


@syscall("text.sentiment", cost="engine")
async def sentiment(
    context: Context, text: Text = None, file: File = None, model: Model = None
) -> dict[str, Any]:
    """Say whether a text is positive, negative or neutral, and how surely."""
    content = await read(text, file)
    result: dict[str, Any] = await context.call(
        "llm.classify",
        text=content,
        labels=SENTIMENTS,
        question="Sentiment",
        model=model,
    )
    return result
