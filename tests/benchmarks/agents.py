"""Agents of several turns with a tool call between turns: all at once, and one after another.

    python tests/benchmarks/agents.py [--agents 32] [--turns 4] [--rounds 5] [--tokens 24]

Each agent is a process with a context of its own that begins with the same system prompt. In a
turn it asks the model, then calls a tool (a syscall that waits for a timer, as for somebody else's
machine) and tells the model the result. Turnaround is the time from the common start, when all are
there, to an agent's end. Both ways run in every round, in alternating order, each as a tenant of
its own, so that neither finds pages of the other; answers are compared word for word. To reach: a
median turnaround at least 3 times shorter, and the same answers.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
from live_kernel import kernel_options, live_kernel, machine, percentile, words

from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.spec import syscall

RULES = "You look things up for people. Answer each question in one short sentence. Notes: "
TOPICS = ("the tide", "the night train", "a red lamp", "the old bridge", "my letter", "the baker")


@dataclass
class Outcome:
    """What one way of running all agents gave."""

    turnarounds_s: list[float] = field(default_factory=list)
    answers: dict[int, list[str]] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    held_pages: int = 0
    """The most that was held at one time."""


class Tool:
    """A syscall that takes a while without computing anything here."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    @syscall("bench.look_up", cost="io")
    async def look_up(self, key: str) -> dict[str, Any]:
        """Look something up.

        Args:
            key: what to look up.
        """
        await asyncio.sleep(self._latency_s)  # the tool itself: somebody else's machine
        return {"key": key, "found": sum(map(ord, key)) % 97}


class Agents:
    """All agents of one tenant."""

    def __init__(self, kernel: Kernel, options: argparse.Namespace, tenant: str) -> None:
        self._kernel = kernel
        self._options = options
        self._principal = replace(owner("bench"), tenant=tenant)
        notes = words(random.Random(7), options.system_tokens)
        self._system = {"role": "system", "content": RULES + notes}
        self.outcome = Outcome()
        self._began_s = time.perf_counter()

    async def run(self, number: int) -> None:
        """Be an agent from its first turn to its last."""
        opened = await self._call("proc.open", None, command=f"agent {number}", kind="agent")
        pid, name = opened["pid"], f"{self._principal.tenant}-{number}"
        await self._call("ctx.create", pid, name=name, messages=[self._system])
        topic = TOPICS[number % len(TOPICS)]
        said = f"Case {number}: what about {topic}?"
        answers = []
        for turn in range(self._options.turns):
            answer = await self._call(
                "llm.chat", pid, context=name, messages=[{"role": "user", "content": said}],
                max_tokens=self._options.tokens, temperature=0.0, hold_s=5.0,
            )  # fmt: skip
            answers.append(answer["text"])
            self._count(answer["usage"])
            if turn < self._options.turns - 1:
                found = await self._call("bench.look_up", pid, key=f"{topic} {number} {turn}")
                said = f"The result is {found['found']}. And then?"
        self.outcome.turnarounds_s.append(time.perf_counter() - self._began_s)
        self.outcome.answers[number] = answers
        await self._call("proc.close", None, pid=pid)

    async def _call(self, syscall_name: str, pid: int | None, /, **arguments: Any) -> Any:
        return await self._kernel.submit(self._principal, syscall_name, arguments, pid=pid).result()

    def _count(self, usage: dict[str, Any]) -> None:
        self.outcome.prompt_tokens += usage["prompt_tokens"]
        self.outcome.cached_tokens += usage["cached_tokens"]
        held = sum(model.pages_held for model in self._kernel.engine.stats.models)
        self.outcome.held_pages = max(self.outcome.held_pages, held)


async def together(agents: Agents, count: int) -> None:
    """All at once."""
    await asyncio.gather(*(agents.run(number) for number in range(count)))


async def one_after_another(agents: Agents, count: int) -> None:
    """Each when the one before it has ended."""
    for number in range(count):
        await agents.run(number)


WAYS: dict[str, Callable[[Agents, int], Awaitable[None]]] = {
    "together": together,
    "one after another": one_after_another,
}


async def measure(options: argparse.Namespace) -> None:
    """Run both ways in every round and print what came of it."""
    rounds: dict[str, list[Outcome]] = {way: [] for way in WAYS}
    numbers = itertools.count()
    async with live_kernel(options, {"engine.policy": options.policy}) as kernel:
        kernel.table.register(Tool(options.tool_s).look_up, owner="bench")
        for round_number in range(options.rounds):
            ways = list(WAYS) if round_number % 2 == 0 else list(WAYS)[::-1]
            for way in ways:
                agents = Agents(kernel, options, f"t{next(numbers)}")
                await WAYS[way](agents, options.agents)
                rounds[way].append(agents.outcome)
                print(f"  round {round_number + 1} {describe(way, [agents.outcome])}", flush=True)
    report(rounds, options)


def describe(way: str, outcomes: list[Outcome]) -> str:
    """Medians over rounds of what one way gave."""
    p50 = statistics.median(percentile(o.turnarounds_s, 50) for o in outcomes)
    p95 = statistics.median(percentile(o.turnarounds_s, 95) for o in outcomes)
    share = sum(o.cached_tokens for o in outcomes) / sum(o.prompt_tokens for o in outcomes)
    held = max(o.held_pages for o in outcomes)
    return (
        f"{way:18} turnaround p50 {p50:6.2f} s, p95 {p95:6.2f} s, prefix hits {share:6.1%},"
        f" {held} pages held, load {psutil.getloadavg()[0]:.1f}"
    )


def report(rounds: dict[str, list[Outcome]], options: argparse.Namespace) -> None:
    """Print medians, the ratio, and whether the answers agree."""
    print(
        f"{machine()}: {options.model}, {options.agents} agents x {options.turns} turns,"
        f" {options.tokens} tokens an answer, tool {options.tool_s * 1000:.0f} ms,"
        f" system prompt of about {options.system_tokens} tokens, policy {options.policy},"
        f" {options.rounds} rounds"
    )
    for way, outcomes in rounds.items():
        print(describe(way, outcomes))
    ratios = [
        percentile(slow.turnarounds_s, 50) / percentile(quick.turnarounds_s, 50)
        for quick, slow in zip(rounds["together"], rounds["one after another"], strict=True)
    ]
    print(
        f"turnaround p50, one after another / together: median {statistics.median(ratios):.2f}"
        f" (rounds {min(ratios):.2f} to {max(ratios):.2f}); to reach: 3"
    )
    expected = rounds["one after another"][0].answers
    others = [outcome.answers for outcomes in rounds.values() for outcome in outcomes]
    same = sum(answers[n] == expected[n] for answers in others for n in expected)
    print(f"answers equal to those of the first run: {same} of {len(others) * len(expected)}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = kernel_options(__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=24, help="of each answer, at most")
    parser.add_argument("--system-tokens", type=int, default=650)
    parser.add_argument("--tool-s", type=float, default=0.2, help="how long the tool takes")
    parser.add_argument("--policy", default="priority")
    parser.set_defaults(running=16)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
