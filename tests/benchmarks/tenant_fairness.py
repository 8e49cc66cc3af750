"""Whether tenants get their shares of a real model, however much each of them asks for.

    python tests/benchmarks/tenant_fairness.py [--store FOLDER] [--rounds 5]

The default model, in an engine process, through the kernel, under the policy `fair`. Each round
has three parts: two tenants of equal weight, of which one floods the kernel with four times as
many requests as run at a time, and the other keeps one and a half times as many; the same with
the weights 1 for the flood and 3 for the other; ten tenants, of which the first keeps 4 requests
outstanding and each next one 2 more. Everybody has work waiting all the time. A window begins when
the counters have met. What each tenant is served in it is read from the engine: by the policy's
counters (computed tokens and held pages, over the weight), and in plain tokens.

To reach, in the median round: what the two tenants get is within 5 % of their weights, and Jain's
index over the ten is at least 0.98.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from live_kernel import kernel_options, live_kernel, machine, words

from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.simulation.summary import jain_index

TO_REACH_OFF = 0.05
TO_REACH_JAIN = 0.98
MET_TOKENS = 100
"""Counters so near have met; about a request."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tenants that want more than there is."""

    name: str
    outstanding: Mapping[str, int]
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Served:
    """By weight, in a window, in the order of the tenants."""

    costs: Sequence[float]
    tokens: Sequence[float]


def parts(running: int) -> list[Part]:
    """Those of a round."""
    two = {"flood": 4 * running, "steady": running + running // 2}
    ten = {f"tenant-{number}": 4 + 2 * number for number in range(10)}
    return [
        Part("1:1", two, {}),
        Part("1:3", two, {"steady": 3.0}),
        Part("ten", ten, {}),
    ]


class Bench:
    """Tenants on one kernel."""

    def __init__(self, kernel: Kernel, options: argparse.Namespace) -> None:
        self._kernel = kernel
        self._options = options
        self._numbers = random.Random(7)

    async def ask(self, principal: Principal) -> None:
        """One request after the other, until cancelled."""
        while True:
            least, most = self._options.words
            call = self._kernel.submit(
                principal,
                "llm.complete",
                {
                    "prompt": words(self._numbers, self._numbers.randint(least, most)),
                    "max_tokens": self._numbers.randint(*self._options.tokens),
                    "ignore_eos": True,
                },
            )
            try:
                await call.result()
            finally:
                call.cancel()

    async def measure(self, part: Part) -> Served:
        """What each tenant of a part is served."""
        await self._kernel.call("sys.policy", name="fair", tenant_weights=dict(part.weights))
        asking = [
            asyncio.create_task(
                self.ask(Principal(name, tenant=name, capabilities=frozenset({"*"})))
            )
            for name, outstanding in part.outstanding.items()
            for _ in range(outstanding)
        ]
        await self._settle(part)
        before = self._books()
        await asyncio.sleep(self._options.window_s)
        after = self._books()
        for task in asking:
            task.cancel()
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise RuntimeError(f"a request failed: {outcome!r}")
        costs = [after[name][0] - before[name][0] for name in part.outstanding]
        tokens = [
            (after[name][1] - before[name][1]) / part.weights.get(name, 1.0)
            for name in part.outstanding
        ]
        return Served(costs, tokens)

    async def _settle(self, part: Part) -> None:
        """Wait until the counters have met: who came first had all places, and is ahead."""
        until_s = time.monotonic() + self._options.longest_settle_s
        await asyncio.sleep(self._options.settle_s)
        while time.monotonic() < until_s:
            books = self._books()
            counters = [books[name][0] for name in part.outstanding if name in books]
            is_complete = len(counters) == len(part.outstanding)
            if is_complete and max(counters) - min(counters) <= MET_TOKENS:
                return
            await asyncio.sleep(0.25)

    def _books(self) -> dict[str, tuple[float, int]]:
        (model,) = self._kernel.engine.stats.models
        return {book.tenant: (book.counter, book.tokens) for book in model.tenants}


def describe(served: Sequence[float]) -> float:
    """Of two tenants how many times more by weight the first got, of more Jain's index."""
    return served[0] / served[1] if len(served) == 2 else jain_index(served)


def report(part: Part, rounds: Sequence[Served]) -> None:
    """Print what the rounds come to."""
    for unit, values in (
        ("as accounted", [describe(served.costs) for served in rounds]),
        ("plain tokens", [describe(served.tokens) for served in rounds]),
    ):
        median = statistics.median(values)
        if len(part.outstanding) == 2:
            verdict = "reached" if abs(median - 1) <= TO_REACH_OFF else "MISSED"
            what, spread = f"flood / steady {median:.3f}", sorted(values)
        else:
            verdict = "reached" if median >= TO_REACH_JAIN else "MISSED"
            what, spread = f"Jain's index {median:.4f}", sorted(values)
        listed = ", ".join(f"{value:.3f}" for value in spread)
        print(f"{part.name:<5} {unit}: {what} ({listed}): {verdict}")


async def measure(options: argparse.Namespace) -> None:
    """Run all rounds."""
    print(machine(), f"{options.running} running, windows of {options.window_s:.0f} s", sep="; ")
    results: dict[str, list[Served]] = {part.name: [] for part in parts(options.running)}
    async with live_kernel(options, {"engine.policy": "fair"}) as kernel:
        bench = Bench(kernel, options)
        for _ in range(options.rounds):
            for part in parts(options.running):
                served = await bench.measure(part)
                results[part.name].append(served)
                print(part.name, f"{sum(served.tokens) / options.window_s:.0f} tokens/s by weight")
    for part in parts(options.running):
        report(part, results[part.name])
    print("afterwards", machine())


def main() -> None:
    """Measure and print."""
    parser = kernel_options(__doc__)
    parser.add_argument("--words", type=int, nargs=2, default=(20, 120), help="of prompts")
    parser.add_argument("--tokens", type=int, nargs=2, default=(16, 48), help="of answers")
    parser.add_argument("--settle-s", type=float, default=5.0)
    parser.add_argument("--longest-settle-s", type=float, default=90.0)
    parser.add_argument("--window-s", type=float, default=30.0)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
