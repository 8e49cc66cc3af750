"""From a kernel's start to its first finished cell: `python tests/benchmarks/notebook_start.py`.

Starts of plain ipykernel and of this kernel are interleaved, so that a busy machine slows both
alike. The cell is plain Python: what every notebook begins with. Also prints how long an interrupt
takes to end a cell of the language, and to free its pages (`--interrupt`, with a running kernel and
a model).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from lingos_kernel.client.connect import connect
from lingos_kernel.telemetry.snapshot import Snapshot

LIMIT = 1.3
WAIT_S = 120.0
MODULES = {"ipykernel": "ipykernel_launcher", "lingos": "lingos_shell.jupyter"}


def start(module: str) -> tuple[KernelManager, BlockingKernelClient]:
    """A kernel that was just started."""
    manager = KernelManager()
    spec = manager.kernel_spec
    assert spec is not None
    spec.argv = [sys.executable, "-m", module, "-f", "{connection_file}"]
    spec.interrupt_mode = "message"
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    return manager, client


def first_cell_s(module: str) -> float:
    """Seconds from the start of a kernel to the reply of its first cell."""
    begun = time.perf_counter()
    manager, client = start(module)
    try:
        client.wait_for_ready(WAIT_S)
        client.execute("1 + 1", reply=True, timeout=WAIT_S)
        return time.perf_counter() - begun
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each kernel, in interleaved rounds."""
    found: dict[str, list[float]] = {name: [] for name in MODULES}
    for _ in range(rounds):
        for name, module in MODULES.items():
            found[name].append(first_cell_s(module))
    return found


async def until_free_s() -> float:
    """When no sequence has pages any more."""
    async with await connect() as client:
        while True:
            seen = msgspec.convert(await client.call("sys.snapshot"), Snapshot)
            if not seen.sequences:
                return time.perf_counter()


def interrupt_s(
    client: BlockingKernelClient, manager: KernelManager, cell: str
) -> tuple[float, float]:
    """Seconds from an interrupt in an answer until its cell has ended, and its pages are free."""
    sent: list[float] = []
    free: list[Future[float]] = []

    def interrupt(message: dict[str, object]) -> None:
        if message["msg_type"] == "update_display_data" and not sent:
            sent.append(time.perf_counter())
            manager.interrupt_kernel()
            free.append(watcher.submit(asyncio.run, until_free_s()))

    with ThreadPoolExecutor() as watcher:
        client.execute_interactive(cell, timeout=WAIT_S, output_hook=interrupt)
        ended_s = time.perf_counter()
        return ended_s - sent[0], free[0].result() - sent[0]


def interrupts(rounds: int) -> list[tuple[float, float]]:
    """How long interrupts take, of answers of the session's model."""
    manager, client = start(MODULES["lingos"])
    try:
        client.wait_for_ready(WAIT_S)
        cell = "? Write a very long story about a dog."
        return [interrupt_s(client, manager, cell) for _ in range(rounds)]
    finally:
        client.stop_channels()
        manager.shutdown_kernel()


def main() -> int:
    """Print the measurement; returns 1 when the start is over its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--interrupt", action="store_true", help="also measure interrupts")
    options = parser.parse_args()
    found = measure(options.rounds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratio = medians["lingos"] / medians["ipykernel"]
    print(f"load {os.getloadavg()[0]:.1f}, medians of {options.rounds} interleaved rounds")
    for name, seconds in medians.items():
        print(f"{name:<10} {seconds:6.2f} s from start to first finished cell")
    print(f"ratio      {ratio:6.2f} (limit {LIMIT})")
    if options.interrupt:
        for what, took in zip(
            ("cell ended", "pages free"), zip(*interrupts(options.rounds), strict=True), strict=True
        ):
            print(
                f"{what} {statistics.median(took) * 1000:6.0f} ms, worst {max(took) * 1000:.0f} ms"
            )
    return 1 if ratio > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
