"""Lines of standard input, as they come."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable

from lingos_shell.inputs import decode


async def typed_lines() -> AsyncGenerator[str, None]:
    """Lines of stdin with their ends. Raises `InvalidArguments` for one that is not UTF-8."""
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    # A daemon, so that leaving does not wait for a line that may never come.
    threading.Thread(
        target=_read_lines, args=(loop, lines.put_nowait), name="stdin", daemon=True
    ).start()
    offset = 0
    while line := await lines.get():
        yield decode(line, f"standard input (line at byte {offset})")
        offset += len(line)


def _read_lines(loop: asyncio.AbstractEventLoop, put: Callable[[bytes], None]) -> None:
    while True:
        line = sys.stdin.buffer.readline() if sys.stdin is not None else b""
        try:
            loop.call_soon_threadsafe(put, line)
        except RuntimeError:
            return  # the loop is closed: nobody waits for the line
        if not line:
            return
