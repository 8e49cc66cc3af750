"""How long the scheduler takes to decide a step, by policy; run by hand.

    python tests/benchmarks/scheduling_decision.py [--running 256] [--waiting 1000] [--rounds 5]

A decision is all that a step does before and after it computes: who gives way, who is admitted,
who computes how many tokens, and the books of those who did. In most steps the house is full; in
every eighth somebody ends and the next one enters; in the first hundred or so, urgent work takes
the places of less urgent work. Rounds are the same steps again, those of all policies interleaved.
Printed are percentiles of each step's best round, which is what the decision itself costs, and of
all rounds, where others on the machine count, too. To reach: a 99th percentile under 500 us.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time

from lingos_kernel.scheduling.batcher import SWAPS_PER_STEP, Allowance, place, share_budget
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.scheduling.policy import Policy
from lingos_kernel.scheduling.waiting import WaitingQueue

STEPS = 200
"""In a round."""


class Item:
    """A sequence, with what the engine's have at hand, and what theirs work out."""

    __slots__ = (
        *("arrival_s", "computed", "deadline_s", "key", "length", "order", "pages", "priority"),
        *("program", "served_tokens", "tenant"),
    )

    def __init__(self, number: int) -> None:
        self.key = f"{number}/0"
        self.priority = number % 4
        self.arrival_s = number / 10
        self.order = number
        self.deadline_s: float | None = number / 10 + 5
        self.program = f"agent-{number // 4}"
        self.tenant = f"tenant-{number % 10}"
        self.pages = [0] * 40
        self.computed = 600
        self.length = 601
        self.served_tokens = 0

    @property
    def remaining(self) -> int:
        """Tokens to compute."""
        return self.length - self.computed

    @property
    def held_pages(self) -> int:
        """Pages."""
        return len(self.pages)

    @property
    def wanted_pages(self) -> int:
        """Of the next token."""
        return int(self.computed >= len(self.pages) * 16)

    @property
    def needed_pages(self) -> int:
        """Of all tokens."""
        return -(-self.length // 16)


def decide(policy_name: str, running_count: int, waiting_count: int) -> list[float]:
    """Seconds of each decision of a round, on fresh books."""
    policy = make_policy(policy_name)
    running = [Item(number) for number in range(running_count)]
    waiting: WaitingQueue[Item] = WaitingQueue(policy)
    for item in running:
        policy.on_joined(item)
    for number in range(waiting_count):
        item = Item(running_count + number)
        policy.on_joined(item)
        waiting.add(item)
    arrivals = running_count + waiting_count
    times_s = []
    for step in range(STEPS):
        if step % 8 == 0:
            policy.on_left(running.pop(step % len(running)))
            newcomer = Item(arrivals + step)
            policy.on_joined(newcomer)
            waiting.add(newcomer)
        began_s = time.thread_time()
        settle(running, waiting, policy, running_count)
        for item, tokens in share_budget(running, Allowance(512), policy):
            policy.on_served(item, tokens)
        times_s.append(time.thread_time() - began_s)
    return times_s


def settle(
    running: list[Item], waiting: WaitingQueue[Item], policy: Policy, max_running: int
) -> None:
    """Preempt and admit, as the engine does."""
    swaps_left = SWAPS_PER_STEP
    prefilling = [item for item in running if item.remaining > 1]
    while placement := place(
        running,
        waiting.after(prefilling),
        [],
        policy=policy,
        max_running=max_running,
        available_pages=100_000,
        cost=lambda item: item.needed_pages,
        swaps_left=swaps_left,
    ):
        swaps_left -= len(placement.preempt)
        for item in placement.preempt:
            running.remove(item)
            waiting.add(item)
        for item in placement.admit:
            waiting.remove(item)
            running.append(item)
        prefilling = placement.prefilling_after(prefilling)


def percentiles(times_s: list[float]) -> str:
    """Median and 99th percentile."""
    ordered = sorted(times_s)
    p99_s = ordered[int(len(ordered) * 0.99)]
    return f"p50 {statistics.median(ordered) * 1e6:>5.0f} us, p99 {p99_s * 1e6:>5.0f} us"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--running", type=int, default=256)
    parser.add_argument("--waiting", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.2f}; {arguments.running} running, {arguments.waiting} waiting"
    )
    rounds: dict[str, list[list[float]]] = {name: [] for name in POLICIES}
    gc.disable()
    for _ in range(arguments.rounds):
        for name in POLICIES:
            rounds[name].append(decide(name, arguments.running, arguments.waiting))
            gc.collect()
    for name, times_s in rounds.items():
        best_s = [min(step) for step in zip(*times_s, strict=True)]
        everything_s = [time_s for steps in times_s for time_s in steps]
        print(f"{name:<18} best {percentiles(best_s)}   all {percentiles(everything_s)}")
    print(f"load afterwards {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
