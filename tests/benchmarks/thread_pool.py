"""What the elastic pool adds to a call: submit, run on a pool thread, result; run by hand.

    python tests/benchmarks/thread_pool.py [--calls 5000] [--rounds 5]

Beside it, in interleaved rounds: the standard library's executor, and two threads that only hand a
lock to and fro, which is what the machine itself takes for two switches of threads.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lingos_kernel.threads.pool import ElasticPool


def nothing() -> None:
    """The function that is called."""


def ping_pong() -> tuple[Callable[[], object], Callable[[], None]]:
    """A call that wakes another thread and waits for it to answer; and its end."""
    ping, pong = threading.Lock(), threading.Lock()
    ping.acquire()
    pong.acquire()
    running = True

    def answer() -> None:
        while True:
            ping.acquire()
            if not running:
                return
            pong.release()

    def call() -> None:
        ping.release()
        pong.acquire()

    def end() -> None:
        nonlocal running
        running = False
        ping.release()
        thread.join()

    thread = threading.Thread(target=answer)
    thread.start()
    return call, end


def times_us(call: Callable[[], object], calls: int) -> list[float]:
    """Sorted times of the calls, in microseconds."""
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1000)
    return sorted(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.2f}"
    )
    pool, executor = ElasticPool(), ThreadPoolExecutor(2)
    raw, end_raw = ping_pong()
    calls: dict[str, Callable[[], object]] = {
        "elastic pool": lambda: pool.submit(nothing).result(),
        "ThreadPoolExecutor": lambda: executor.submit(nothing).result(),
        "two bare threads": raw,
    }
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times = times_us(call, arguments.calls)
            results[name].append((times[len(times) // 2], times[len(times) * 99 // 100]))
    for name, pairs in results.items():
        p50, p99 = (statistics.median(values) for values in zip(*pairs, strict=True))
        print(f"{name:<20} p50 {p50:7.1f} us   p99 {p99:7.1f} us   ({len(pairs)} rounds)")
    pool.shutdown()
    executor.shutdown()
    end_raw()


if __name__ == "__main__":
    main()
