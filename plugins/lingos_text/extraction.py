"""`text.extract` and `text.keywords`: data out of prose."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import Field

from lingos_kernel import Context, syscall
from lingos_kernel.errors import LingOSError
from lingos_text.pieces import dot
from lingos_text.reading import File, Model, Text, read
from lingos_text.stopwords import STOPWORDS
from lingos_text.talking import ask_model

MAX_CANDIDATES = 400
_WORD = re.compile(r"[^\W\d_][\w'-]*", re.UNICODE)


@syscall("text.extract", cost="engine")
async def extract(
    context: Context,
    schema: Annotated[dict[str, Any], Field(description="JSON schema of the data")],
    text: Text = None,
    file: File = None,
    instruction: str = "Extract the data from the text.",
    model: Model = None,
    max_tokens: Annotated[int, Field(ge=1)] = 512,
) -> Any:
    """Extract data from a text; the result always meets the JSON schema.

    Args:
        instruction: what to look for, in words.
    """
    content = await read(text, file)
    schema = closed(schema)
    prompt = (
        f"{instruction} Answer with JSON that meets this schema:\n"
        f"{json.dumps(schema)}\n\nText:\n{content}"
    )
    answer = await ask_model(context, prompt, schema=schema, model=model, max_tokens=max_tokens)
    if answer["finish_reason"] == "length":
        raise LingOSError(
            f"the data did not fit into {max_tokens} tokens",
            hint="raise max_tokens, or bound arrays and strings in the schema",
        )
    return json.loads(answer["text"])


@syscall("text.keywords", cost="engine")
async def keywords(
    context: Context,
    text: Text = None,
    file: File = None,
    limit: Annotated[int, Field(ge=1, le=100, description="most keywords")] = 10,
    diversity: Annotated[float, Field(ge=0, le=1, description="0 allows near repeats")] = 0.3,
    model: Model = None,
) -> list[dict[str, Any]]:
    """Find the words and phrases that stand for a text, best first.

    Phrases of up to three words are ranked by how near they are to the whole text in meaning,
    and picked by maximal marginal relevance (Carbonell and Goldstein 1998).

    Args:
        model: an embedding model; the configured embedder when not given.
    """
    content = await read(text, file)
    phrases = candidates(content)
    if not phrases:
        return []
    texts = [content, *phrases]
    vectors = (await context.call("llm.embed", texts=texts, model=model))["vectors"]
    scores = [dot(vectors[0], vector) for vector in vectors[1:]]
    picked = most_relevant(scores, vectors[1:], limit=limit, diversity=diversity)
    picked.sort(key=lambda i: -scores[i])
    return [{"keyword": phrases[i], "score": round(scores[i], 4)} for i in picked]


def closed(schema: Any) -> Any:
    """The schema with every object closed to properties it does not name, unless it says more.

    A model that may add properties does, instead of coming to an end.
    """
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema:
        inner["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
        if not schema.keys() & {"additionalProperties", "patternProperties"}:
            inner["additionalProperties"] = False
    return inner


def candidates(text: str) -> list[str]:
    """Phrases of one to three neighbouring words that neither begin nor end with a stop word.

    The most frequent ones when there are many, in order of their first appearance.
    """
    counts: dict[str, int] = {}
    for clause in re.split(r"[.,;:!?()\[\]\"\n。，；：！？、]+", text):
        words = _WORD.findall(clause)
        for size in (1, 2, 3):
            for start in range(len(words) - size + 1):
                phrase = [word.lower() for word in words[start : start + size]]
                if phrase[0] in STOPWORDS or phrase[-1] in STOPWORDS or len(phrase[0]) < 2:
                    continue
                key = " ".join(phrase)
                counts[key] = counts.get(key, 0) + 1
    frequent = sorted(counts, key=lambda phrase: -counts[phrase])[:MAX_CANDIDATES]
    kept = set(frequent)
    return [phrase for phrase in counts if phrase in kept]


def most_relevant(
    scores: list[float], vectors: list[list[float]], *, limit: int, diversity: float
) -> list[int]:
    """Indices by maximal marginal relevance: near the text, unlike those already picked."""
    picked: list[int] = []
    nearest = [0.0] * len(scores)
    left = set(range(len(scores)))
    while left and len(picked) < limit:
        best = max(left, key=lambda i: ((1 - diversity) * scores[i] - diversity * nearest[i], -i))
        picked.append(best)
        left.discard(best)
        for i in left:
            nearest[i] = max(nearest[i], dot(vectors[i], vectors[best]))
    return picked
