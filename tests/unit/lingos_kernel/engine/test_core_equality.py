"""The engine says exactly what transformers says: greedy, float32, token for token."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lingos_kernel.memory.relief import Rate
from lingos_kernel.models.store import StoredModel
from lingos_kernel.models.text_codec import TextCodec

ARCHITECTURES = [
    *("llama", "qwen3", "gemma3", "mistral", "gpt2", "phi3", "olmo2", "moe", "qwen2", "gemma2"),
]
NEW_TOKENS = 24

Prompts = list[list[int]]


class Reference:
    """transformers' own generate, one prompt at a time."""

    def __init__(self, path: Path) -> None:
        torch.set_num_threads(1)
        self.model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def answer(self, prompt: list[int], new_tokens: int = NEW_TOKENS) -> list[int]:
        """The greedy continuation, EOS included."""
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=new_tokens,
                pad_token_id=0,
            )
        tokens: list[int] = output[0, len(prompt) :].tolist()
        return tokens

    def margin(self, tokens: list[int]) -> float:
        """By how much the likeliest next token leads over the second, in logits."""
        with torch.inference_mode():
            logits = self.model(torch.tensor([tokens])).logits[0, -1]
        first, second = logits.topk(2).values.tolist()
        return float(first - second)

    def check(self, prompt: list[int], said: list[int], expected: list[int]) -> None:
        """Assert equality; a failure shows how clear the first differing choice was."""
        if said == expected:
            return
        at = next(i for i, (a, b) in enumerate(zip([*said, -1], [*expected, -1])) if a != b)  # noqa: B905  the shorter decides
        margin = self.margin(prompt + expected[:at])
        pytest.fail(
            f"token {at} differs where the best leads by {margin:.2g}: {said} for {expected}"
        )


def random_prompts(seed: int, count: int = 8, vocabulary: int = 256) -> Prompts:
    """Prompts of 3 to 90 tokens; a third of them begin alike."""
    rng = random.Random(seed)
    start = [rng.randrange(3, vocabulary) for _ in range(40)]
    prompts = []
    for index in range(count):
        body = [rng.randrange(3, vocabulary) for _ in range(rng.randint(3, 50))]
        prompts.append(start + body if index % 3 == 0 else body)
    return prompts


def prefill_rate(tokens_per_s: float) -> Rate:
    """As if it had been measured."""
    rate = Rate()
    rate.add(tokens_per_s, 1.0)
    return rate


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def reference(architecture: str, tiny_model: Callable[[str], Path]) -> Reference:
    """transformers with the tiny model of the architecture."""
    return Reference(tiny_model(architecture))


def test_alone(
    architecture: str,
    reference: Reference,
    tiny_model: Callable[[str], Path],
    drive: Callable[..., Any],
) -> None:
    """One request at a time gives what generate gives."""
    engine = drive(tiny_model(architecture))
    for index, prompt in enumerate(random_prompts(1, count=4)):
        engine.generate(str(index), prompt, max_tokens=NEW_TOKENS)
        engine.run()
        reference.check(prompt, engine.tokens(str(index)), reference.answer(prompt))


def test_in_mixed_batches_with_preemption(
    architecture: str,
    reference: Reference,
    tiny_model: Callable[[str], Path],
    drive: Callable[..., Any],
) -> None:
    """Chunked prefill beside decoding, too few pages, and preemption at random change nothing.

    Of those that give way some keep their pages; those of others go to host memory or are lost.
    """
    probe = drive(tiny_model(architecture))
    page_bytes = probe.core.models["m"].info.page_bytes
    rng = random.Random(7)
    engine = drive(
        tiny_model(architecture),
        kv_bytes=11 * page_bytes,
        host_kv_bytes=30 * page_bytes,
        max_running=5,
        max_batch_tokens=24,
    )
    decoder = engine.core.models["m"].decoder
    decoder.prices.down["host"].add(1e6, 1.0)
    wishes = cycle([("slots", 1e-3), ("pages", 1e-3), ("pages", 1e12)])
    prompts = random_prompts(2)
    todo = dict(enumerate(prompts))
    while todo or engine.core.has_work:
        if todo and rng.random() < 0.3:
            index, prompt = todo.popitem()
            engine.generate(str(index), prompt, max_tokens=NEW_TOKENS)
        if decoder.roster.running and rng.random() < 0.2:
            shortage, tokens_per_s = next(wishes)
            decoder.prices.prefill = prefill_rate(tokens_per_s)
            engine.core.preempt(rng.choice(decoder.roster.running).request.id, shortage)
        elif rng.random() < 0.3:  # computing turns out to be slow
            decoder.prices.prefill = prefill_rate(1e-3)
        engine.step()
        engine.core.check_integrity()
    assert set(decoder.roster.reliefs) == {"keep", "spill", "drop"}
    assert decoder.tiers.stats[0].spilled_pages > 0
    usages = [engine.last(str(index)).usage for index in range(len(prompts))]
    assert sum(usage.preemptions for usage in usages) > 0
    for index, prompt in enumerate(prompts):
        reference.check(prompt, engine.tokens(str(index)), reference.answer(prompt))


REAL_PROMPTS = [
    "What is the capital of France? Answer in one sentence.",
    "Write a haiku about rain.",
    "List three uses of a hammer.",
    "Explain what a prime number is to a child.",
    "Translate 'good morning' into Spanish.",
    "Why is the sky blue?",
    "Give me a recipe for pancakes.",
    "What is 17 plus 25?",
    "Who wrote Hamlet?",
    "Summarize the plot of Cinderella in two sentences.",
    "Name the planets of the solar system.",
    "What does an operating system do?",
    "Write a Python function that reverses a string.",
    "Is a whale a fish?",
    "How do I boil an egg?",
    "Describe the colour red without naming it.",
    "What is the difference between a list and a tuple in Python?",
    "Give one synonym for happy.",
    "Tell me a short story about a lost key.",
    "What are the benefits of walking every day? " * 8,
]


@pytest.mark.model
@pytest.mark.slow
def test_the_default_model_on_real_prompts(
    default_model: StoredModel, drive: Callable[..., Any]
) -> None:
    """20 chats, alone and then together in a pool too small for all, equal generate's answers."""
    reference = Reference(default_model.path)
    codec = TextCodec.load(default_model.path)
    prompts = [codec.encode_chat([{"role": "user", "content": text}]) for text in REAL_PROMPTS]
    expected = [reference.answer(prompt, 16) for prompt in prompts]
    engine = drive(default_model.path, kv_bytes=48 * 737280, max_running=12, max_batch_tokens=128)
    for index, prompt in enumerate(prompts[:5]):
        engine.generate(f"alone-{index}", prompt, max_tokens=16)
        engine.run()
        reference.check(prompt, engine.tokens(f"alone-{index}"), expected[index])
    for index, prompt in enumerate(prompts):
        engine.generate(str(index), prompt, max_tokens=16)
    rng = random.Random(3)
    while engine.core.has_work:
        if rng.random() < 0.2:
            engine.core.preempt(str(rng.randrange(len(prompts))))
        engine.step()
    engine.core.check_integrity()
    for index, prompt in enumerate(prompts):
        reference.check(prompt, engine.tokens(str(index)), expected[index])
