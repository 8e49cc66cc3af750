"""Tokens a second of the engine beside transformers.generate, in interleaved rounds.

    python tests/benchmarks/engine_throughput.py FOLDER [--rounds 5] [--tokens 48] [--threads 0]

FOLDER is a causal model in the Hugging Face layout (`lingos show NAME` names it). Both run in
this process, in float32 on a CPU, with the same threads. generate gets prompts of equal length,
which is its best case: the engine's batches need not be alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.messages import Generate, LoadModel, ModelSpec, SamplingParams
from lingos_kernel.engine.settings import EngineSettings

PROMPT_TOKENS = 64
BATCH = 8

Case = Callable[[int], int]
"""Runs once on prompts of this round; returns the tokens that it made."""


class Engine:
    """The engine's core, without a process around it."""

    def __init__(self, folder: Path, threads: int) -> None:
        self.core = EngineCore(EngineSettings(threads=threads))
        self.core.handle(LoadModel(ModelSpec(name="m", path=str(folder))))

    def answer(self, prompts: list[list[int]], tokens: int) -> int:
        """Answer all prompts together."""
        params = SamplingParams(max_tokens=tokens, ignore_eos=True)
        for index, prompt in enumerate(prompts):
            self.core.handle(Generate(f"r{index}", "m", tuple(prompt), params))
        while self.core.has_work:
            self.core.step()
        return len(prompts) * tokens


class Transformers:
    """The same model, run by transformers."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def answer(self, prompts: list[list[int]], tokens: int) -> int:
        """Answer all prompts together."""
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            self.model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                pad_token_id=0,
            )
        return len(prompts) * tokens


def prompts_of(seed: int, count: int, length: int) -> list[list[int]]:
    """Random prompts: no two rounds share a prefix."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[list[int]] = torch.randint(3, 250, (count, length), generator=generator).tolist()
    return rows


def cases(engine: Engine, peer: Transformers, tokens: int, prefill: int) -> dict[str, Case]:
    """What is measured, the engine and its peer side by side."""

    def decode(one: Engine | Transformers, count: int) -> Case:
        return lambda seed: one.answer(prompts_of(seed, count, PROMPT_TOKENS), tokens)

    def read(one: Engine | Transformers) -> Case:
        return lambda seed: one.answer(prompts_of(seed, 1, prefill), 1) * prefill

    return {
        "alone, engine": decode(engine, 1),
        "alone, generate": decode(peer, 1),
        f"batch of {BATCH}, engine": decode(engine, BATCH),
        f"batch of {BATCH}, generate": decode(peer, BATCH),
        f"prompt of {prefill}, engine": read(engine),
        f"prompt of {prefill}, generate": read(peer),
    }


def main() -> None:
    """Print the median tokens a second of each case, and how busy the machine was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    engine = Engine(options.folder, options.threads)
    work = cases(engine, Transformers(options.folder), options.tokens, options.prefill)
    rates: dict[str, list[float]] = {name: [] for name in work}
    for index in range(options.rounds + 1):
        for number, (name, run) in enumerate(work.items()):
            started_s = time.perf_counter()
            made = run(1000 * index + number)
            rates[name].append(made / (time.perf_counter() - started_s))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{options.rounds} rounds, {torch.get_num_threads()} of {os.cpu_count()} cores, load {load}"
    )
    for name, values in rates.items():
        warm = values[1:]
        print(
            f"{name:<24} {statistics.median(warm):8.1f} tokens/s"
            f"   ({min(warm):.1f} to {max(warm):.1f})"
        )


if __name__ == "__main__":
    main()
