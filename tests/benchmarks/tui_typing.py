"""How soon a typed key is echoed while answers stream: `python tests/benchmarks/tui_typing.py`.

The program runs in a pseudo-terminal, on a stand-in for a kernel in the same process that streams
answers in several sessions at once (one of them in front; those in the others are taken in and
drawn when they are looked at) and a new picture of the scheduler four times a second. Each key is
another character, so that its bytes are its echo. Rounds with and without streams are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import pty
import select
import statistics
import struct
import sys
import termios
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

BUDGET_S = 0.030
ROWS, COLUMNS = 45, 160
READY, FIRST = "sk something", 0x4E00
"""The prompt's hint; the first of the characters that are typed."""
PIECE_S = 0.01
"""Between two pieces of one answer: 100 tokens a second."""
PIECES = (
    "A queue grows when work **arrives", " faster** than it is done.\n\n", "- bound it\n",
    "- refuse ", "what does not fit\n\n", "```python\nif queue.depth", " >= bound:\n    raise",
    " QueueFull\n```\n\n",
)  # fmt: skip


class StreamingClient:
    """A kernel whose answers never end, in pieces of a few words."""

    async def __aexit__(self, *exc: object) -> None:
        return None

    def with_options(self, **_: Any) -> StreamingClient:
        """The same."""
        return self

    async def open_process(self, command: str, **_: Any) -> int:
        """A pid."""
        return 40

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The scheduler's picture, and what a session asks for."""
        if name == "sys.snapshot":
            from lingos_kernel.testing.sample_snapshot import busy_snapshot

            return msgspec.to_builtins(busy_snapshot(time.monotonic()))
        answers: dict[str, Any] = {"proc.open": {"pid": 12}, "ctx.list": []}
        return answers.get(name, {})

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[Any, None]:
        """Pieces for ever."""
        from lingos_kernel.syscalls.events import Item

        number = 0
        while True:
            yield Item({"text": PIECES[number % len(PIECES)]})
            number += 1
            await asyncio.sleep(PIECE_S)


def run_program(streams: int) -> None:
    """The program, with so many sessions that stream; begins to when the terminal is ready."""
    from lingos_shell.tui import collector
    from lingos_shell.tui.start import prepare

    prepare()
    from lingos_shell.tui.app import LingOSApp
    from lingos_shell.tui.sessions.tabs import SessionTabs

    async def connect(_may_start: bool) -> Any:
        return StreamingClient()

    class Program(LingOSApp):
        async def on_mount(self) -> None:
            self.run_worker(self.begin())

        async def begin(self) -> None:
            await self.kernel_client()
            tabs = self.screen.query_one(SessionTabs)
            for number in range(streams):
                if number:
                    await tabs.open_session()
                await tabs.front.send("go")

    Program(connect, on_first_frame=collector.resume).run()


class Terminal:
    """The program in a pseudo-terminal."""

    def __init__(self, streams: int) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            command = [sys.executable, str(Path(__file__).resolve()), "--program", str(streams)]
            os.execv(sys.executable, command)

    def until(self, wanted: Callable[[bytes], bool], limit_s: float = 60.0) -> float:
        """Read on until the output has it; returns the time when it had."""
        seen = b""
        end_s = time.perf_counter() + limit_s
        while not wanted(seen):
            left_s = end_s - time.perf_counter()
            if left_s <= 0 or not select.select([self._descriptor], [], [], left_s)[0]:
                raise TimeoutError(f"it did not come within {limit_s} s: {seen[-300:]!r}")
            seen += os.read(self._descriptor, 65536)
        return time.perf_counter()

    def drain(self, for_s: float) -> int:
        """Read for a while; returns the bytes."""
        count = 0
        end_s = time.perf_counter() + for_s
        while (left_s := end_s - time.perf_counter()) > 0:
            if select.select([self._descriptor], [], [], left_s)[0]:
                count += len(os.read(self._descriptor, 65536))
        return count

    def echo_s(self, character: str) -> float:
        """Seconds from a key to its echo."""
        wanted = character.encode()
        begun_s = time.perf_counter()
        os.write(self._descriptor, wanted)
        return self.until(lambda seen: wanted in seen) - begun_s

    def press(self, keys: bytes) -> None:
        """Press keys whose echo nobody waits for."""
        os.write(self._descriptor, keys)

    def close(self) -> None:
        """Leave the program."""
        os.write(self._descriptor, b"\x11")
        try:
            while os.read(self._descriptor, 65536):
                continue
        except OSError:  # how Linux tells of the end of a pseudo-terminal
            pass
        os.waitpid(self.pid, 0)
        os.close(self._descriptor)


def measure(streams: int, keys: int, gap_s: float) -> tuple[list[float], float]:
    """Seconds of each echo, and the bytes a second that were drawn meanwhile."""
    terminal = Terminal(streams)
    found: list[float] = []
    drawn = 0
    try:
        terminal.until(lambda seen: READY.encode() in seen)
        terminal.drain(2.0)
        begun_s = time.perf_counter()
        for number in range(keys):
            found.append(terminal.echo_s(chr(FIRST + number)))
            drawn += terminal.drain(gap_s)
            if number % 20 == 19:
                terminal.press(b"\x15")  # the line is full
                terminal.drain(0.2)
        return found, drawn / (time.perf_counter() - begun_s)
    finally:
        terminal.close()


def share(values: list[float], part: float) -> float:
    """The value that this part of all is not above."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def main() -> int:
    """Print the measurement; returns 1 when the p99 with streams is over its budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--keys", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gap", type=float, default=0.05, help="seconds between two keys")
    given = parser.parse_args()
    if given.program is not None:
        run_program(given.program)
        return 0
    times: dict[int, list[float]] = {0: [], given.streams: []}
    for _ in range(given.rounds):
        for streams, found in times.items():
            echoes, drawn = measure(streams, given.keys, given.gap)
            found.extend(echoes)
            print(f"  {streams} streams: {drawn / 1000:.0f} kB/s drawn", flush=True)
    load = os.getloadavg()[0]
    print(f"load {load:.1f}, {os.cpu_count()} cores, key to echo in a pseudo-terminal")
    for streams, found in times.items():
        print(
            f"{streams} streams  median {statistics.median(found) * 1000:5.1f} ms"
            f"  p99 {share(found, 0.99) * 1000:5.1f} ms  worst {max(found) * 1000:5.1f} ms"
            f"  of {len(found)} keys"
        )
    return 1 if share(times[given.streams], 0.99) > BUDGET_S else 0


if __name__ == "__main__":
    raise SystemExit(main())
