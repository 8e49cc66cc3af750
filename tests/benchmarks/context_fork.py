"""What a fork of a context costs, by its length: in the store, and as a system call.

    python tests/benchmarks/context_fork.py [--quick]

Goal: a median below one millisecond, whatever the length. Rounds go over all lengths in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from lingos_kernel.kernel import Kernel
from lingos_kernel.processes.contexts import Entry
from lingos_kernel.testing.scripted_kernel import MODEL, scripted_kernel

TURNS = 100
"""Turns of the conversations that are forked."""


async def make(kernel: Kernel, name: str, length: int) -> None:
    """A context of so many tokens, in turns as a conversation would have written them."""
    me = kernel.processes.get(1).principal
    stored = kernel.store.resolve(MODEL)
    await kernel.contexts.create(name, me, model=stored.name, model_id=stored.id)
    turn = length // TURNS + 1
    for start in range(0, length, turn):
        loaded = await kernel.contexts.load(name, me)
        end = min(start + turn, length)
        entry = Entry({"role": "user", "content": "x"}, end)
        await kernel.contexts.extend(
            loaded, me, start=start, tokens=range(start, end), entries=[entry]
        )


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Wall seconds of an operation."""
    begin_s = time.perf_counter()
    await work()
    return time.perf_counter() - begin_s


async def measure(lengths: list[int], rounds: int, repeats: int) -> None:
    """Fork at the end and in the middle, and clean up after each round."""
    with tempfile.TemporaryDirectory() as home:
        async with scripted_kernel(Path(home)) as kernel:
            me = kernel.processes.get(1).principal
            for length in lengths:
                await make(kernel, f"c{length}", length)
            ways: dict[str, Callable[[int, str], Awaitable[object]]] = {
                "store, at the end": lambda n, to: kernel.contexts.fork(f"c{n}", to, me),
                "store, at any token": lambda n, to: kernel.contexts.fork(
                    f"c{n}", to, me, at=n // 2
                ),
                "ctx.fork": lambda n, to: kernel.submit(
                    me, "ctx.fork", {"name": f"c{n}", "to": to}
                ).result(),
            }
            medians: dict[tuple[str, int], list[float]] = {}
            for _ in range(rounds):
                for length in lengths:
                    for way, fork in ways.items():
                        seconds = []
                        for number in range(repeats):
                            to = f"fork{number}"
                            seconds.append(await timed(lambda: fork(length, to)))  # noqa: B023
                        for number in range(repeats):
                            await kernel.contexts.remove(f"fork{number}", me)
                        medians.setdefault((way, length), []).append(statistics.median(seconds))
            for (way, length), found in medians.items():
                us = [seconds * 1e6 for seconds in found]
                print(
                    f"fork of {length:>9,} tokens, {way:20} median {statistics.median(us):7.0f} us"
                    f"  (rounds {min(us):.0f} to {max(us):.0f})"
                )


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short contexts and few rounds")
    quick = parser.parse_args().quick
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}")
    lengths = [0, 1_000] if quick else [0, 1_000, 30_000, 300_000]
    asyncio.run(measure(lengths, rounds=1 if quick else 5, repeats=20 if quick else 200))


if __name__ == "__main__":
    main()
