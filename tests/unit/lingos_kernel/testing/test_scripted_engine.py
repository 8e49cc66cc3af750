"""The scripted engine answers as told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.engine.messages import (
    Generate,
    Grammar,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
)
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.testing import FakeClock, Prompt, ScriptedEngine, byte_codec
from lingos_kernel.testing.script import Script, least_value

CODEC = byte_codec()


def chat(text: str, **params: object) -> Generate:
    """A user's message as a request."""
    ids = CODEC.encode_chat([{"role": "system", "content": "Be kind."}, _user(text)])
    return Generate("r", "m", tuple(ids), SamplingParams(**params))  # type: ignore[arg-type]


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def answer(engine: ScriptedEngine, request: Generate) -> list[SequenceOutput]:
    """All outputs of a request."""
    return [output async for output in engine.generate(request)]


async def text_of(script: Script, request: Generate) -> str:
    """What an engine with the script says."""
    engine = ScriptedEngine(script)
    await engine.start()
    await engine.load(ModelSpec(name="m", path=""))
    try:
        return "".join(output.text for output in await answer(engine, request))
    finally:
        await engine.stop()


@pytest.fixture
async def engine() -> AsyncIterator[ScriptedEngine]:
    """A started engine that echoes and steps by hand."""
    engine = ScriptedEngine(is_automatic=False, clock=FakeClock())
    await engine.start()
    await engine.load(ModelSpec(name="m", path=""))
    yield engine
    await engine.stop()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_codec_is_bytes(text: str) -> None:
    """Text without control tokens becomes its UTF-8 bytes, and comes back."""
    ids = CODEC.encode(text, control=False)
    assert ids == list(text.encode())
    assert CODEC.decode(ids) == text


def test_codec_has_control_tokens() -> None:
    """A chat is ChatML; two control tokens follow the bytes; the second ends a text."""
    ids = CODEC.encode_chat([_user("hi")])
    assert CODEC.decode(ids, skip_special=False) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (CODEC.vocabulary, CODEC.bos_id, CODEC.eos_ids) == (258, 256, {257})


async def test_default_is_an_echo() -> None:
    """Without a script the last user message comes back."""
    engine = ScriptedEngine()
    await engine.start()
    await engine.load(ModelSpec(name="m", path=""))
    outputs = await answer(engine, chat("Grüß Gott"))
    assert "".join(output.text for output in outputs) == "Grüß Gott"
    assert outputs[-1].finish_reason == "stop"
    await engine.stop()


async def test_mapping() -> None:
    """A whole message counts first, then a key within the prompt, then the echo."""
    script = {"Hello": "Hi.", "kind": "I am."}
    assert await text_of(script, chat("Hello")) == "Hi."
    assert await text_of(script, chat("anything")) == "I am."
    assert await text_of({"nothing": "x"}, chat("anything")) == "anything"


async def test_function() -> None:
    """A function sees the prompt and its request."""

    def script(prompt: Prompt) -> str:
        return f"{prompt.user}/{prompt.request.params.seed}/{'Be kind.' in prompt.text}"

    assert await text_of(script, chat("a", seed=4)) == "a/4/True"


async def test_error() -> None:
    """An error in the script ends the request in it."""
    with pytest.raises(InvalidArguments, match="no"):
        await text_of({"Hello": InvalidArguments("no")}, chat("Hello"))


async def test_schema_is_met() -> None:
    """With a JSON schema the echo is a value that meets it."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "kind": {"enum": ["a", "b"]},
            "one": {"const": 1},
            "tags": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "count": {"type": "integer", "minimum": 3},
        },
    }
    expected = {"name": "xx", "kind": "a", "one": 1, "tags": [False, False], "count": 3}
    assert least_value(schema) == expected
    grammar = Grammar("json", json.dumps(schema))
    assert json.loads(await text_of({}, chat("x", grammar=grammar))) == expected


async def test_logprobs(engine: ScriptedEngine) -> None:
    """Chosen and prompt tokens have scores, with as many others beside them as were asked for."""
    params = SamplingParams(logprobs=2, prompt_logprobs=0, max_tokens=1)
    task = asyncio.ensure_future(answer(engine, Generate("r", "m", (1, 2, 3), params)))
    await asyncio.sleep(0)  # the task submits its request
    engine.step()
    (output,) = await task
    assert [len(score.top) for score in output.logprobs] == [2]
    assert [score.token_id for score in output.prompt_logprobs] == [2, 3]


async def test_steps_by_hand(engine: ScriptedEngine) -> None:
    """Each step gives a token; the statistics show the request as it stands."""
    task = asyncio.ensure_future(answer(engine, chat("hello")))
    await asyncio.sleep(0)
    engine.step(2)
    (row,) = engine.stats.sequences
    assert (row.request_id, row.state, row.output_tokens) == ("r", "decode", 2)
    engine.step(4)
    assert engine.stats.sequences == ()
    assert "".join(output.text for output in await task) == "hello"


async def test_score_only(engine: ScriptedEngine) -> None:
    """With max_tokens 0 only the prompt is scored."""
    params = SamplingParams(prompt_logprobs=0, max_tokens=0)
    task = asyncio.ensure_future(answer(engine, Generate("r", "m", (1, 2, 3), params)))
    await asyncio.sleep(0)
    engine.step()
    (output,) = await task
    assert (output.token_ids, output.finish_reason) == ((), "length")
    assert len(output.prompt_logprobs) == 2
