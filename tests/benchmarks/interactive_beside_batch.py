"""What a flood of batch work does to somebody who waits at a screen, and the other way round.

    python tests/benchmarks/interactive_beside_batch.py [--store FOLDER] [--rounds 5]

The default model, in an engine process, through the kernel. A round has three parts, the last two
in turns of order: interactive requests alone; batch requests (nice 10, prompts of 50 to 800
words, 32 to 64 tokens of answer) that keep the engine full; both together. Interactive requests
(nice 0, 60 words, 8 tokens) come every `--gap` seconds, give or take two fifths of it. The engine
itself counts the tokens; those of interactive requests are taken off.

To reach, over all rounds: the 99th percentile of the time to the first token is at most twice the
one without batch work, plus one step (the 99th percentile of the time between two tokens of a
batch answer, without interactive work); and in the median round batch work gets at least 90 % of
the tokens a second that it gets alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import time
from contextlib import aclosing
from dataclasses import dataclass, field

from live_kernel import computed_tokens, kernel_options, live_kernel, machine, percentile, words

from lingos_kernel.kernel import Kernel
from lingos_kernel.syscalls.events import Failure, Item

BATCH_PRIORITY = 10
INTERACTIVE_WORDS = 60
INTERACTIVE_TOKENS = 8
TO_REACH_SHARE = 0.90


@dataclass(slots=True)
class Window:
    """What was measured in one part of a round."""

    first_token_s: list[float] = field(default_factory=list)
    interactive_tokens: int = 0
    tokens_per_s: float = 0.0
    """Of batch work."""


class Bench:
    """Requests of both kinds on one kernel."""

    def __init__(self, kernel: Kernel, options: argparse.Namespace) -> None:
        self._kernel = kernel
        self._options = options
        self._numbers = random.Random(7)
        self._me = kernel.processes.get(1).principal
        self.step_s: list[float] = []
        """Times between two tokens of a batch answer, while `is_timing_steps`."""
        self.is_timing_steps = False

    async def answer(self, prompt_words: int, tokens: int, priority: int) -> list[float]:
        """When each piece of an answer came, after when it was asked for."""
        call = self._kernel.submit(
            self._me,
            "llm.complete",
            {
                "prompt": words(self._numbers, prompt_words),
                "max_tokens": tokens,
                "ignore_eos": True,
            },
            priority=priority,
        )
        times_s = [time.monotonic()]
        async with aclosing(call.events()) as events:
            async for event in events:
                if isinstance(event, Item):
                    times_s.append(time.monotonic())
                    if priority == BATCH_PRIORITY and self.is_timing_steps and len(times_s) > 2:
                        self.step_s.append(times_s[-1] - times_s[-2])
                if isinstance(event, Failure):
                    raise RuntimeError(event.error)
        return times_s

    async def ask(self, window: Window) -> None:
        """One interactive request."""
        times_s = await self.answer(INTERACTIVE_WORDS, INTERACTIVE_TOKENS, 0)
        window.first_token_s.append(times_s[1] - times_s[0])

    async def flood(self) -> None:
        """One of those who always have a batch request outstanding; until cancelled."""
        least, most = self._options.words
        while True:
            await self.answer(
                self._numbers.randint(least, most), self._numbers.randint(32, 64), BATCH_PRIORITY
            )

    async def unloaded(self, count: int) -> Window:
        """Interactive requests one after the other."""
        window = Window()
        for _ in range(count):
            await self.ask(window)
        return window

    async def flooded(self, *, is_interactive: bool) -> Window:
        """What batch work gets in a window, with interactive requests or without."""
        window, asked = Window(), []
        self.is_timing_steps = not is_interactive
        before, began_s = self._kernel.engine.stats, time.monotonic()
        while (left_s := began_s + self._options.window_s - time.monotonic()) > 0:
            gap_s = self._options.gap_s * self._numbers.uniform(0.6, 1.4)
            await asyncio.sleep(min(gap_s, left_s))
            if is_interactive and gap_s < left_s:
                asked.append(asyncio.create_task(self.ask(window)))
        await asyncio.gather(*asked)
        after = self._kernel.engine.stats
        self.is_timing_steps = False
        mine = len(asked) * (INTERACTIVE_WORDS + INTERACTIVE_TOKENS)
        computed = computed_tokens(after) - computed_tokens(before) - mine
        window.tokens_per_s = computed / (after.time_s - before.time_s)
        return window

    async def round(self, number: int) -> tuple[Window, Window, Window]:
        """Interactive requests alone, batch work alone, both."""
        unloaded = await self.unloaded(self._options.asks)
        flood = [asyncio.create_task(self.flood()) for _ in range(self._options.outstanding)]
        await asyncio.sleep(self._options.settle_s)
        order = (False, True) if number % 2 else (True, False)
        windows = {kind: await self.flooded(is_interactive=kind) for kind in order}
        for task in flood:
            task.cancel()
        for outcome in await asyncio.gather(*flood, return_exceptions=True):
            if not isinstance(outcome, asyncio.CancelledError):
                raise RuntimeError(f"a batch request failed: {outcome!r}")
        return unloaded, windows[False], windows[True]


def report(rounds: list[tuple[Window, Window, Window]], step_s: list[float]) -> None:
    """Print the rounds and what they come to."""
    for number, (unloaded, alone, both) in enumerate(rounds, start=1):
        print(
            f"round {number}: first token {statistics.median(unloaded.first_token_s):.3f} s alone, "
            f"{statistics.median(both.first_token_s):.3f} s beside batch work; batch "
            f"{alone.tokens_per_s:.0f} tokens/s alone, {both.tokens_per_s:.0f} beside interactive"
        )
    times = {
        "alone": list(itertools.chain(*(unloaded.first_token_s for unloaded, _, _ in rounds))),
        "beside batch": list(itertools.chain(*(both.first_token_s for _, _, both in rounds))),
        "one step": step_s,
    }
    for name, values in times.items():
        print(
            f"{name:<14} p50 {percentile(values, 50):.3f} s   p90 {percentile(values, 90):.3f} s"
            f"   p99 {percentile(values, 99):.3f} s   of {len(values)}"
        )
    p99 = {name: percentile(values, 99) for name, values in times.items()}
    limit_s = 2 * p99["alone"] + p99["one step"]
    verdict = "reached" if p99["beside batch"] <= limit_s else "MISSED"
    print(f"first token p99 {p99['beside batch']:.3f} s, at most {limit_s:.3f} s: {verdict}")
    shares = [both.tokens_per_s / alone.tokens_per_s for _, alone, both in rounds]
    share = statistics.median(shares)
    verdict = "reached" if share >= TO_REACH_SHARE else "MISSED"
    spread = ", ".join(f"{value:.1%}" for value in sorted(shares))
    print(f"batch work keeps {share:.1%} of its tokens a second ({spread}): {verdict}")


async def measure(options: argparse.Namespace) -> None:
    """Run all rounds."""
    print(machine(), f"{options.running} running, policy {options.policy}", sep="; ")
    async with live_kernel(options, {"engine.policy": options.policy}) as kernel:
        bench = Bench(kernel, options)
        await bench.unloaded(2)
        rounds = []
        for number in range(options.rounds):
            rounds.append(await bench.round(number))
        report(rounds, bench.step_s)
    print("afterwards", machine())


def main() -> None:
    """Measure and print."""
    parser = kernel_options(__doc__)
    parser.add_argument("--policy", default="priority")
    parser.add_argument("--asks", type=int, default=10, help="interactive requests alone")
    parser.add_argument("--words", type=int, nargs=2, default=(50, 800), help="of batch prompts")
    parser.add_argument("--outstanding", type=int, default=32, help="batch requests")
    parser.add_argument("--settle-s", type=float, default=15.0)
    parser.add_argument("--window-s", type=float, default=32.0)
    parser.add_argument("--gap-s", type=float, default=4.0)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
