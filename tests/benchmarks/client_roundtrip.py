"""How long a call takes on its way to the resident kernel and back, and what a start costs.

    python tests/benchmarks/client_roundtrip.py [--quick]

The server runs in a process of its own, with a real kernel on a scripted engine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

from lingos_kernel.client.http import HttpClient
from lingos_kernel.errors import KernelUnavailable

IMPORTS = (
    "pass",
    "import asyncio",
    "import asyncio, h11",
    "import asyncio, http.client",
    "import asyncio, httpx",
    "import lingos_kernel.client.http",
    "import lingos_kernel.client.connect, lingos_kernel.config",
    "import lingos_kernel.client.sync",
    "import lingos_kernel.server.daemon",
    "import lingos_kernel.server.serving",
    "import lingos_kernel.kernel",
    "import lingos_kernel.kernel, lingos_kernel.server.serving",
)


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls only")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve_benchmark(options.serve))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    asyncio.run(measure_calls(20 if options.quick else 2000))
    repeats = 1 if options.quick else 9
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as bytecode:
        environ = with_bytecode(bytecode)
        for statement in IMPORTS:
            time_import(statement, 1, environ)
            print(f"{statement:62} {time_import(statement, repeats, environ) * 1e3:8.1f} ms")
        asyncio.run(measure_starts(repeats, environ))


def time_import(statement: str, repeats: int, environ: dict[str, str]) -> float:
    """Wall seconds of a fresh interpreter that runs a statement, at best."""
    seconds = []
    for _ in range(repeats):
        begin_s = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True, env=environ)
        seconds.append(time.perf_counter() - begin_s)
    return min(seconds)


def with_bytecode(folder: str) -> dict[str, str]:
    """An environment in which compiled modules are kept, as on a user's machine."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environ, "PYTHONPYCACHEPREFIX": folder}


async def serve_benchmark(home: Path) -> None:
    """Be the kernel."""
    from lingos_kernel import syscall
    from lingos_kernel.config import load_config
    from lingos_kernel.kernel import Kernel
    from lingos_kernel.server.claim import claim
    from lingos_kernel.server.serving import StopRequest, serve, started
    from lingos_kernel.testing import ScriptedEngine

    @syscall("bench.noop")
    async def noop() -> None:
        """Do nothing on the loop."""

    @syscall("bench.thread")
    def thread() -> None:
        """Do nothing on a thread of the pool."""

    @syscall("bench.items")
    async def items(n: int) -> AsyncGenerator[Any, None]:
        """Stream small texts, as a model does."""
        for _ in range(n):
            yield {"text": " word"}

    @syscall("bench.echo")
    async def echo(data: Any) -> Any:
        """Give back."""
        return data

    config = load_config(environ={"LINGOS_HOME": str(home), "LINGOS_LOAD_PLUGINS": ""})
    kernel = Kernel(config, engine=ScriptedEngine())
    for function in (noop, thread, items, echo):
        kernel.table.register(function, "bench")
    claimed, stop = claim(config.kernel.socket), StopRequest()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.ask, "done")
    await serve(
        partial(started, kernel), claimed.listener, stop, ready=lambda: print("ready", flush=True)
    )
    claimed.release()


async def measure_calls(n: int) -> None:
    """Round trips of several kinds."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        async with HttpClient(Path(folder) / "runtime" / "kernel.sock") as client:
            await report("ping", n, client.ping)
            await report("call, on the loop", n, lambda: client.call("bench.noop"))
            await report("call, on a thread", n, lambda: client.call("bench.thread"))
            await report("stream, no items", n, lambda: drain(client, 0))
            data = "x" * 5_000_000
            await report(
                "call, 5 MB there and back", 5, lambda: client.call("bench.echo", data=data)
            )
            await report_rate(client, n)
            begin_s = time.perf_counter()
            await asyncio.gather(*(crowd(client, n // 50 + 1) for _ in range(50)))
            calls = 50 * (n // 50 + 1)
            print(f"50 callers: {calls / (time.perf_counter() - begin_s):.0f} calls/s")
        server.terminate()
        server.communicate()


async def report(what: str, n: int, act: Callable[[], Awaitable[Any]]) -> None:
    """Time an action n times, after some for warming up."""
    for _ in range(n // 10):
        await act()
    seconds = []
    for _ in range(n):
        begin_s = time.perf_counter()
        await act()
        seconds.append(time.perf_counter() - begin_s)
    p50, p99 = statistics.median(seconds), sorted(seconds)[int(len(seconds) * 0.99)]
    print(f"{what:28} p50 {p50 * 1e3:8.3f} ms   p99 {p99 * 1e3:8.3f} ms")


async def drain(client: HttpClient, n: int) -> float:
    """Read a stream of n items; seconds until the first of them."""
    begin_s = time.perf_counter()
    first_s = 0.0
    async with aclosing(client.stream("bench.items", n=n)) as events:
        async for _ in events:
            first_s = first_s or time.perf_counter() - begin_s
    return first_s


async def report_rate(client: HttpClient, n: int) -> None:
    """Items per second of one stream."""
    begin_s = time.perf_counter()
    first_s = await drain(client, n * 10)
    rate = n * 10 / (time.perf_counter() - begin_s)
    print(f"stream of {n * 10} items: {rate:.0f} items/s, first event after {first_s * 1e3:.2f} ms")


async def crowd(client: HttpClient, n: int) -> None:
    """One caller of many."""
    for _ in range(n):
        await client.call("bench.noop")


async def measure_starts(repeats: int, environ: dict[str, str]) -> None:
    """From the kernel's exec to the first ping, and to the first call's result."""
    pings, calls = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="lingos-") as folder:
            environ = {**environ, "LINGOS_HOME": folder}
            begin_s = time.perf_counter()
            server = subprocess.Popen(
                [sys.executable, "-m", "lingos_kernel.server"],
                env=environ,
                stderr=subprocess.DEVNULL,
            )
            async with HttpClient(Path(folder) / "runtime" / "kernel.sock") as client:
                await first_ping(client)
                pings.append(time.perf_counter() - begin_s)
                await client.call("thread.sums")
                calls.append(time.perf_counter() - begin_s)
            server.kill()
            server.wait()
    for what, seconds in (("exec to first ping", pings), ("exec to first result", calls)):
        best, median = min(seconds), statistics.median(seconds)
        print(f"{what:62} {best * 1e3:8.1f} ms at best, {median * 1e3:.1f} ms median")


async def first_ping(client: HttpClient) -> None:
    """Try until a kernel answers."""
    while True:
        try:
            await client.ping()
        except KernelUnavailable:
            await asyncio.sleep(0.001)
        else:
            return


if __name__ == "__main__":
    main()
