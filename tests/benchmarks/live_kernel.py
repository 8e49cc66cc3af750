"""What the benchmarks share that run a real model through a whole kernel."""

from __future__ import annotations

import argparse
import os
import platform
import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lingos_kernel.config import load_config
from lingos_kernel.engine.messages import EngineStats
from lingos_kernel.kernel import Kernel

VOCABULARY = (
    "time year people way day man thing woman life child world school state family student group "
    "country problem hand part place case week company system program question work number night "
    "point home water room mother area money story fact month lot right study book eye job word "
    "business issue side kind head house service friend father power hour game line end member "
    "law car city community name president team minute idea body back parent face level office"
)


def kernel_options(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of `live_kernel`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--store", type=Path, help="models; the user's own when not given")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--running", type=int, default=16, help="engine.max_running")
    parser.add_argument("--threads", type=int, default=0, help="engine.threads")
    return parser


@asynccontextmanager
async def live_kernel(
    options: argparse.Namespace, settings: Mapping[str, Any]
) -> AsyncIterator[Kernel]:
    """A kernel with its engine process and the model loaded, in a home of its own."""
    store = options.store or load_config().models.store
    overrides = {
        "models.store": store,
        "models.default": options.model,
        "engine.max_running": options.running,
        "engine.threads": options.threads,
        "engine.kv_bytes": 1 << 30,
        "kernel.log_level": "warning",
        **settings,
    }
    with tempfile.TemporaryDirectory(prefix="lingos-") as home:
        environ = {"LINGOS_HOME": home, "LINGOS_LOAD_PLUGINS": ""}
        kernel = Kernel(load_config(environ=environ, overrides=overrides))
        await kernel.start()
        try:
            await kernel.call("llm.complete", prompt="To begin with,", max_tokens=2)
            yield kernel
        finally:
            await kernel.stop()


def words(numbers: random.Random, count: int) -> str:
    """A text of so many words, about a token each, that begins like no other."""
    return " ".join(numbers.choices(VOCABULARY.split(), k=count))


def computed_tokens(stats: EngineStats) -> int:
    """All tokens that the engine has computed so far."""
    return stats.prompt_tokens_total + stats.output_tokens_total


def percentile(values: list[float], percent: float) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def machine() -> str:
    """The machine, and how busy it is."""
    load = os.getloadavg()[0]
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {load:.2f}"
    )
