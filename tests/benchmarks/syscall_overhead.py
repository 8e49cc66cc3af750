"""What the pipeline itself costs: a syscall that does nothing, from submit to result.

Run: python tests/benchmarks/syscall_overhead.py [calls]
Prints one line of JSON per kind of call. Goal: p50 at most 100 us and p99 at most 1 ms for a call
in a process of its caller on an otherwise idle machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from lingos_kernel import Context, syscall
from lingos_kernel.config import PluginsConfig
from lingos_kernel.plugins import PluginHost
from lingos_kernel.processes import ProcessTable
from lingos_kernel.security.audit import AuditLog
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.dispatch import Dispatcher
from lingos_kernel.syscalls.table import SyscallTable
from lingos_kernel.threads.pool import ElasticPool

ME = owner("me")
PIECES = 1000


@syscall("bench.noop", cost="io")
async def noop() -> None:
    """Do nothing, on the loop."""


@syscall("bench.noop_thread")
def noop_thread() -> None:
    """Do nothing, on a thread."""


@syscall("bench.nested", cost="io")
async def nested(context: Context) -> None:
    """Do nothing, one call further down."""
    await context.call("bench.noop")


@syscall("bench.stream", cost="io")
async def stream() -> AsyncIterator[int]:
    """Stream numbers from the loop."""
    for number in range(PIECES):
        yield number


@syscall("bench.stream_thread")
def stream_thread() -> Iterator[int]:
    """Stream numbers from a thread."""
    yield from range(PIECES)


def summarize(name: str, times_s: list[float], per: int = 1) -> dict[str, Any]:
    """Percentiles in microseconds, per piece where a call has several."""
    ordered = sorted(times_s)

    def at(share: float) -> float:
        return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] / per * 1e6, 1)

    return {"call": name, "calls": len(ordered), "p50_us": at(0.5), "p99_us": at(0.99)}


async def measure(work: Callable[[], Awaitable[Any]], calls: int) -> list[float]:
    """The time of each call."""
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        await work()
        times.append(time.perf_counter() - begun)
    return times


async def measure_load(dispatcher: Dispatcher, calls: int, at_once: int) -> dict[str, Any]:
    """Calls per second when many are in flight."""
    begun = time.perf_counter()
    for _ in range(max(calls // at_once, 1)):
        made = [dispatcher.submit(ME, "bench.noop") for _ in range(at_once)]
        await asyncio.gather(*(call.result() for call in made))
    took = time.perf_counter() - begun
    done = max(calls // at_once, 1) * at_once
    return {"call": f"noop, {at_once} at once", "calls": done, "per_s": round(done / took)}


async def read(dispatcher: Dispatcher, name: str) -> None:
    """Read all events of a stream."""
    async for _ in dispatcher.submit(ME, name).events():
        pass


async def run(calls: int, folder: Path) -> list[dict[str, Any]]:
    """All measurements, with plugins' hooks and the audit log in place as in a kernel."""
    table, pool = SyscallTable(), ElasticPool()
    for function in (noop, noop_thread, nested, stream, stream_thread):
        table.register(function, "bench")
    audit = AuditLog(folder / "audit.jsonl")
    audit.start()
    processes = ProcessTable(ME, clock=time.monotonic)
    hooks = PluginHost(PluginsConfig(load=()))
    dispatcher = Dispatcher(table, processes, pool, hooks=hooks, audit=audit)
    dispatcher.start()
    pid = processes.open(ME, "bench").pid

    def call(name: str, **options: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: dispatcher.submit(ME, name, {}, **options).result()

    await measure(call("bench.noop_thread"), 100)
    found = [
        summarize("noop", await measure(call("bench.noop", pid=pid), calls)),
        summarize("noop, process of its own", await measure(call("bench.noop"), calls)),
        summarize("noop on a thread", await measure(call("bench.noop_thread", pid=pid), calls)),
        summarize("noop in a call", await measure(call("bench.nested", pid=pid), calls)),
        await measure_load(dispatcher, calls, 200),
    ]
    for name in ("bench.stream", "bench.stream_thread"):
        times = await measure(lambda name=name: read(dispatcher, name), max(calls // PIECES, 3))
        found.append(summarize(f"{name}, per piece", times, per=PIECES))
    await dispatcher.stop()
    pool.shutdown()
    audit.stop()
    return found


def main() -> None:
    """Measure and print."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        for line in asyncio.run(run(calls, Path(folder))):
            print(json.dumps(line))


if __name__ == "__main__":
    main()
