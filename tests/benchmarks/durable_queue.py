"""How many jobs a second the durable queue takes in and gives out; run by hand.

    python tests/benchmarks/durable_queue.py [--jobs 20000] [--rounds 5] [--redis URL]

Rounds of all measurements are interleaved, so that a passing load on the machine meets all alike;
printed are medians with the range. The numbers to reach with SQLite: 20,000 puts/s and 3,000
claim+acknowledge/s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from lingos_kernel.queue.broker import Broker
from lingos_kernel.queue.jobs import NewJob
from lingos_kernel.queue.redis_broker import RedisBroker
from lingos_kernel.queue.sqlite_broker import SqliteBroker

PAYLOAD = json.dumps({"syscall": "text.summarize", "arguments": {"text": "x" * 100}}).encode()
PUTTERS = 256
WORKERS = 8

Measure = Callable[[Broker, int], Awaitable[None]]


async def put_concurrently(broker: Broker, jobs: int) -> None:
    """Many callers, each waiting for its put before the next."""

    async def put(count: int) -> None:
        for _ in range(count):
            await broker.put("bench", PAYLOAD)

    counts = [len(range(n, jobs, PUTTERS)) for n in range(PUTTERS)]
    await asyncio.gather(*map(put, counts))


async def put_in_batches(broker: Broker, jobs: int) -> None:
    """One caller, 500 jobs at a time."""
    for start in range(0, jobs, 500):
        await broker.put_many([NewJob("bench", PAYLOAD)] * min(500, jobs - start))


async def work(broker: Broker, jobs: int, workers: int) -> None:
    """Workers that claim a job, acknowledge it, and claim the next."""

    async def one(worker: str, count: int) -> None:
        for _ in range(count):
            (job,) = await broker.claim(["bench"], worker)
            assert await broker.acknowledge(job)

    counts = [len(range(n, jobs, workers)) for n in range(workers)]
    await asyncio.gather(*(one(f"w{n}", count) for n, count in enumerate(counts)))


async def work_together(broker: Broker, jobs: int) -> None:
    """Eight workers."""
    await work(broker, jobs, WORKERS)


async def work_alone(broker: Broker, jobs: int) -> None:
    """One worker."""
    await work(broker, jobs, 1)


MEASURES: dict[str, tuple[Measure, bool, float]] = {
    f"puts/s, {PUTTERS} callers": (put_concurrently, False, 1.0),
    "puts/s, batches of 500": (put_in_batches, False, 1.0),
    f"claim+ack/s, {WORKERS} workers": (work_together, True, 0.25),
    "claim+ack/s, 1 worker": (work_alone, True, 0.1),
}
"""Name: what is measured, whether it needs a full queue, and the share of the jobs it uses."""


async def measure(make: Callable[[Path], Broker], name: str, jobs: int) -> float:
    """Jobs a second, on an empty folder."""
    function, is_consumer, share = MEASURES[name]
    count = max(int(jobs * share), 1)
    with tempfile.TemporaryDirectory() as folder:
        broker = make(Path(folder))
        if is_consumer:
            await put_in_batches(broker, jobs)
        start_s = time.perf_counter()
        await function(broker, count)
        elapsed_s = time.perf_counter() - start_s
        while claimed := await broker.claim(["bench"], "rest", limit=1000):
            await asyncio.gather(*map(broker.acknowledge, claimed))
        await broker.close()
    return count / elapsed_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--redis", help="measure this Redis, too (it should be an empty one)")
    arguments = parser.parse_args()
    brokers: dict[str, Callable[[Path], Broker]] = {
        "sqlite": lambda folder: SqliteBroker(folder / "jobs.db"),
        "sqlite, durability=power": lambda folder: SqliteBroker(
            folder / "jobs.db", durability="power"
        ),
    }
    if arguments.redis:
        brokers["redis"] = lambda _: RedisBroker(arguments.redis, prefix="{bench}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, load {os.getloadavg()[0]:.2f}"
    )
    results: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for broker, make in brokers.items():
            for name in MEASURES:
                rate = asyncio.run(measure(make, name, arguments.jobs))
                results.setdefault((broker, name), []).append(rate)
    for (broker, name), rates in results.items():
        print(
            f"{broker:<26} {name:<26} median {statistics.median(rates):>9,.0f}   "
            f"({min(rates):,.0f} to {max(rates):,.0f}, {len(rates)} rounds)"
        )
    print(f"load afterwards {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
