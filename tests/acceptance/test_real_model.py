"""The real default model behind the system calls, in process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import pytest_asyncio

from lingos_kernel.config import load_config
from lingos_kernel.errors import InvalidGrammar, PromptTooLong
from lingos_kernel.kernel import Kernel
from lingos_kernel.models.store import ModelStore, StoredModel

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

PARIS = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(
    tmp_path_factory: pytest.TempPathFactory,
    model_store: ModelStore,
    default_model: StoredModel,
    default_embedder: StoredModel,
) -> AsyncIterator[Kernel]:
    """One kernel with a real engine process for all tests of this file."""
    home = tmp_path_factory.mktemp("home")
    environ = {"LINGOS_HOME": str(home), "LINGOS_LOAD_PLUGINS": "text"}
    settings = {"engine.kv_bytes": 512 * 2**20}
    made = Kernel(load_config(environ=environ, overrides=settings), store=model_store)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_it_knows_the_capital_of_france(kernel: Kernel) -> None:
    """A real answer, with tokens and times."""
    result = await kernel.call("llm.chat", messages=PARIS)
    assert "Paris" in result["text"]
    usage = result["usage"]
    assert usage["prompt_tokens"] > 20
    assert 0 < usage["output_tokens"] < 64
    assert 0 < usage["first_token_s"] <= usage["total_s"]


async def test_the_same_seed_gives_the_same_answer(kernel: Kernel) -> None:
    """Sampling is repeatable, and another seed gives another answer."""
    options = {"temperature": 1.0, "max_tokens": 24}
    texts = [
        (await kernel.call("llm.chat", messages=PARIS, seed=seed, **options))["text"]
        for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1] != texts[2]


async def test_a_second_question_reuses_the_prefix(kernel: Kernel) -> None:
    """The pages of a prompt seen before are not computed again."""
    await kernel.call("llm.chat", messages=PARIS, max_tokens=4)
    result = await kernel.call("llm.chat", messages=PARIS, max_tokens=4)
    assert result["usage"]["cached_tokens"] >= 32


async def test_answers_meet_their_schema(kernel: Kernel) -> None:
    """Whatever the model would like to say, the answer is JSON of the schema."""
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}, "sure": {"type": "boolean"}},
        "required": ["city", "sure"],
        "additionalProperties": False,
    }
    result = await kernel.call("llm.chat", messages=PARIS, schema=schema, max_tokens=80)
    jsonschema.validate(json.loads(result["text"]), schema)


async def test_a_regex_holds(kernel: Kernel) -> None:
    """The answer is one of those that the expression allows."""
    result = await kernel.call("llm.chat", messages=PARIS, regex="(Lyon|Paris|Nice)")
    assert result["text"] == "Paris"


async def test_the_model_calls_a_tool_with_valid_arguments(kernel: Kernel) -> None:
    """Forced to call, even a small model makes a call that can be run."""
    messages = [{"role": "user", "content": "How many tokens has the text 'hello world'?"}]
    result = await kernel.call(
        "llm.chat",
        messages=messages,
        tools=["llm.tokenize"],
        tool_choice="required",
        max_steps=2,
        max_tokens=60,
    )
    assert result["tool_calls"]
    call = result["tool_calls"][0]
    assert call["name"] == "llm.tokenize"
    assert "text" in call["arguments"]


async def test_scores_tell_sense_from_nonsense(kernel: Kernel) -> None:
    """A likely continuation has the higher log-probability and the lower perplexity."""
    given = "The capital of France is"
    likely = await kernel.call("llm.score", given=given, text=" Paris")
    unlikely = await kernel.call("llm.score", given=given, text=" cheese")
    assert likely["logprob"] > unlikely["logprob"]
    assert likely["perplexity"] < unlikely["perplexity"]


async def test_log_probabilities_of_the_answer(kernel: Kernel) -> None:
    """Each token comes with its log-probability and the likeliest beside it."""
    result = await kernel.call("llm.chat", messages=PARIS, logprobs=3, max_tokens=6)
    tokens = result["choices"][0]["logprobs"]
    assert len(tokens) == result["usage"]["output_tokens"]
    for token in tokens:
        assert len(token["top"]) == 3
        assert token["logprob"] == pytest.approx(token["top"][0]["logprob"])  # greedy


async def test_meaning_is_near_meaning(kernel: Kernel) -> None:
    """The embedder finds a paraphrase nearer than something else."""
    similar = await kernel.call("text.similarity", a="The cat sleeps.", b="A kitten is napping.")
    other = await kernel.call("text.similarity", a="The cat sleeps.", b="Interest rates rose.")
    assert similar > 0.5 > other


async def test_extraction_from_a_real_text(kernel: Kernel) -> None:
    """The data of a sentence, in the asked form."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    text = "Maria Lopez, 34, lives in Lyon and works as a nurse."
    found = await kernel.call("text.extract", text=text, schema=schema)
    assert found == {"name": "Maria Lopez", "age": 34}


async def test_a_schema_that_cannot_be_met_is_refused(kernel: Kernel) -> None:
    """At once, with the reason; the kernel goes on."""
    with pytest.raises(InvalidGrammar):
        await kernel.call("llm.chat", messages=PARIS, schema={"type": "integer", "enum": []})
    await test_a_regex_holds(kernel)


async def test_a_prompt_beyond_the_context_is_refused_with_the_sums(kernel: Kernel) -> None:
    """The error says how long the prompt is and how much fits."""
    with pytest.raises(PromptTooLong, match="8192"):
        await kernel.call("llm.complete", prompt="word " * 9_000)


async def test_a_real_file_is_summarized(kernel: Kernel, tmp_path: Path) -> None:
    """Something is said about a text of several parts, shorter than the text."""
    paragraph = (
        "LingOS keeps one copy of each model in memory. Programs share it. A scheduler decides "
        "who goes first, and a pane shows who waits. "
    )
    file = tmp_path / "about.txt"
    file.write_text(paragraph * 3, encoding="utf-8")
    result: dict[str, Any] = await kernel.call("text.summarize", file=str(file), sentences=1)
    assert 0 < len(result["text"]) < len(paragraph) * 3


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I loved this film, wonderful acting.", "positive"),
        ("What a waste of money.", "negative"),
        ("The meeting is at 3 pm.", "neutral"),
    ],
)
async def test_sentiment_of_plain_cases(kernel: Kernel, text: str, label: str) -> None:
    """The label that fits is the likeliest, without training."""
    assert (await kernel.call("text.sentiment", text=text))["label"] == label
