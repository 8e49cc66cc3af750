"""How long a model takes from nothing to ready: `python tests/benchmarks/engine_start.py FOLDER`.

FOLDER is a model in the Hugging Face layout (`lingos show NAME` names it). Each round starts an
engine process, as the kernel does, loads the model, asks for one token, and kills the process to
see how long the next token takes after a crash. Exits with 1 when the median is over the budget.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from pathlib import Path

from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.messages import Generate, ModelSpec, SamplingParams
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.transport import PipeTransport

BUDGET_S = 4.0
NAMES = ("engine up", "model ready", "first token", "next token after kill -9")


async def measure(folder: Path) -> tuple[float, ...]:
    """Seconds until each of NAMES; the last one counts from the kill."""
    host = EngineHost(PipeTransport(EngineSettings()))
    begun_s = time.perf_counter()
    await host.start()
    up_s = time.perf_counter() - begun_s
    await host.load(ModelSpec(name="m", path=str(folder)))
    ready_s = time.perf_counter() - begun_s
    params = SamplingParams(max_tokens=400, ignore_eos=True)
    stream = host.generate(Generate("r", "m", tuple(range(5, 15)), params))
    await anext(stream)
    first_s = time.perf_counter() - begun_s
    assert host.os_pid
    os.kill(host.os_pid, signal.SIGKILL)
    killed_s = time.perf_counter()
    while not host.restarts:  # tokens that were under way when it died do not count
        await anext(stream)
    back_s = time.perf_counter() - killed_s
    await stream.aclose()
    await host.stop()
    return up_s, ready_s, first_s, back_s


def main() -> int:
    """Print the medians; returns 1 when the model is ready later than the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rounds = [asyncio.run(measure(options.folder)) for _ in range(options.rounds)]
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    for name, seconds in zip(NAMES, medians, strict=True):
        print(f"{name:<26} {seconds:6.2f} s")
    return 1 if medians[1] > BUDGET_S else 0


if __name__ == "__main__":
    sys.exit(main())
