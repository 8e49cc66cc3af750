"""`llm.*` over a scripted engine: what is asked of it, and what callers get."""

from __future__ import annotations

from typing import Any

import pytest

from lingos_kernel.engine.messages import Generate
from lingos_kernel.errors import (
    EmptyPrompt,
    InvalidArguments,
    PromptTooLong,
    QuotaExceeded,
    UnknownModel,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.processes import Limits
from lingos_kernel.syscalls.events import Item, Result
from lingos_kernel.testing import ScriptedEngine


def user(text: str) -> list[dict[str, Any]]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def requests(kernel: Kernel) -> list[Generate]:
    """What the engine was asked to generate."""
    assert isinstance(kernel.engine, ScriptedEngine)
    return [command for command in kernel.engine.commands if isinstance(command, Generate)]


async def test_chat_streams_the_text_and_ends_in_the_whole(make_kernel: Any) -> None:
    """The streamed pieces are the text; the result has usage, seed and the model's name."""
    async with make_kernel({"Hi": "Hello, you."}) as kernel:
        call = kernel.submit(
            kernel.processes.get(1).principal, "llm.chat", {"messages": user("Hi")}
        )
        events = [event async for event in call.events()]
    text = "".join(event.data["text"] for event in events if isinstance(event, Item))
    assert isinstance(events[-1], Result)
    result = events[-1].data
    assert text == result["text"] == "Hello, you."
    assert result["model"] == "scripted"
    assert result["finish_reason"] == "stop"
    assert result["usage"]["output_tokens"] == len("Hello, you.") + 1
    assert result["seed"] >= 0


async def test_sampling_options_reach_the_engine(make_kernel: Any) -> None:
    """Each option becomes the engine's parameter of the same meaning."""
    options = {
        "temperature": 0.7,
        "top_k": 5,
        "seed": 11,
        "stop": ["END"],
        "max_tokens": 9,
        "logit_bias": {"3": -2.0},
        "regex": "[a-z]+",
    }
    async with make_kernel() as kernel:
        await kernel.call("llm.complete", prompt="abc", **options)
        params = requests(kernel)[0].params
    assert (params.temperature, params.top_k, params.seed) == (0.7, 5, 11)
    assert params.stop == ("END",)
    assert params.max_tokens == 9
    assert params.logit_bias == {3: -2.0}
    assert params.grammar is not None
    assert params.grammar.kind == "regex"


async def test_a_chat_that_names_no_seed_gets_one_that_repeats_it(make_kernel: Any) -> None:
    """The seed in the result is the one that was used."""
    async with make_kernel() as kernel:
        result = await kernel.call("llm.chat", messages=user("Hi"), temperature=1.0)
        assert requests(kernel)[0].params.seed == result["seed"]


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("llm.chat", {"messages": []}, EmptyPrompt),
        ("llm.chat", {"messages": [{"role": "user", "content": "  "}]}, EmptyPrompt),
        ("llm.complete", {"prompt": ""}, EmptyPrompt),
        ("llm.complete", {"prompt": "a", "model": "scripte"}, UnknownModel),
        ("llm.complete", {"prompt": "a", "regex": "a", "ebnf": "b"}, InvalidArguments),
        ("llm.complete", {"prompt": "a", "min_tokens": 3, "max_tokens": 2}, InvalidArguments),
        ("llm.complete", {"prompt": "a", "temperature": "hot"}, InvalidArguments),
        ("llm.chat", {"messages": [{"role": "user", "content": "a"}], "model": "scripted-embedder"},
         InvalidArguments),
        ("llm.embed", {"texts": []}, InvalidArguments),
        ("llm.detokenize", {"ids": [999_999]}, InvalidArguments),
        ("llm.classify", {"text": "a", "labels": ["one"]}, InvalidArguments),
        ("llm.classify", {"text": " ", "labels": ["a", "b"]}, EmptyPrompt),
    ],
)  # fmt: skip
async def test_bad_input_is_refused_and_the_kernel_goes_on(
    make_kernel: Any, name: str, arguments: dict[str, Any], error: type[Exception]
) -> None:
    """Each gives its error, and the next call is served."""
    async with make_kernel() as kernel:
        with pytest.raises(error):
            await kernel.call(name, **arguments)
        assert (await kernel.call("llm.complete", prompt="still here"))["text"] == "still here"


async def test_tokens_and_back(make_kernel: Any) -> None:
    """Detokenizing what was tokenized gives the text again."""
    async with make_kernel() as kernel:
        tokens = await kernel.call("llm.tokenize", text="naïve")
        assert tokens["count"] == len(tokens["ids"]) == len(tokens["tokens"]) == 6
        assert (await kernel.call("llm.detokenize", ids=tokens["ids"]))["text"] == "naïve"


async def test_embeddings_come_one_per_text(make_kernel: Any) -> None:
    """Equal texts give equal vectors of length one."""
    async with make_kernel() as kernel:
        result = await kernel.call("llm.embed", texts=["cat", "dog", "cat"])
    first, second, third = result["vectors"]
    assert first == third != second
    assert sum(x * x for x in first) == pytest.approx(1.0)
    assert result["dimensions"] == len(first)


async def test_several_choices_are_told_apart(make_kernel: Any) -> None:
    """With n answers each streamed piece says whose it is, and all are in the result."""
    async with make_kernel({"Hi": "Yes"}) as kernel:
        result = await kernel.call("llm.chat", messages=user("Hi"), n=3)
    assert [choice["text"] for choice in result["choices"]] == ["Yes", "Yes", "Yes"]


async def test_a_process_cannot_exceed_its_tokens(make_kernel: Any) -> None:
    """The answer is cut to what is left, and then nothing more is taken."""
    async with make_kernel({"Hi": "x" * 100}) as kernel:
        me = kernel.processes.get(1).principal
        process = kernel.processes.open(me, "test", limits=Limits(tokens=60))
        call = kernel.submit(me, "llm.chat", {"messages": user("Hi")}, pid=process.pid)
        result = await call.result()
        assert result["finish_reason"] == "length"
        assert process.used.tokens == 60
        again = kernel.submit(me, "llm.chat", {"messages": user("Hi")}, pid=process.pid)
        with pytest.raises(QuotaExceeded):
            await again.result()


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_split(make_kernel: Any) -> None:
    """Five million characters are not even tokenised for a context of 4,096 tokens."""
    async with make_kernel() as kernel:
        with pytest.raises(PromptTooLong, match="5000000 characters"):
            await kernel.call("llm.complete", prompt="a" * 5_000_000)


async def test_others_are_served_while_a_long_text_is_split(make_kernel: Any) -> None:
    """Tokenising runs on the pool: the loop answers meanwhile."""
    async with make_kernel() as kernel:
        me = kernel.processes.get(1).principal
        long = kernel.submit(me, "llm.tokenize", {"text": "word " * 100_000})
        served = 0
        while long.outcome is None:
            await kernel.call("sys.noop")
            served += 1
        assert (await long.result())["count"] == 500_000
        assert served > 1
