"""Running asynchronous work from a command so that Ctrl-C ends it cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from lingos_shell.failures import EXIT_INTERRUPTED
from lingos_shell.output import is_terminal

T = TypeVar("T")

SHOW_CURSOR = b"\x1b[?25h"
"""A progress bar may have hidden it."""


def run_interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run the work to its end on a fresh event loop.

    The first Ctrl-C cancels the work, and by it the call in the kernel: raises
    `KeyboardInterrupt` once that is done. The second leaves the program at once.
    """

    async def guarded() -> T:
        task = asyncio.current_task()
        assert task is not None
        async with cancelled_by_interrupt(task):
            return await work

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@asynccontextmanager
async def cancelled_by_interrupt(task: asyncio.Task[Any]) -> AsyncIterator[None]:
    """Within the block the first Ctrl-C cancels `task`, the second leaves the program.

    Blocks nest: an inner one takes Ctrl-C over and gives it back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)
    pressed = False

    def handle(_signal: int, _frame: object) -> None:
        nonlocal pressed
        if pressed:
            leave_now()
        pressed = True
        loop.call_soon_threadsafe(task.cancel)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave_now() -> None:
    """Leave without waiting for anything: threads, connections, the kernel's answer."""
    if is_terminal(sys.stderr):
        os.write(2, SHOW_CURSOR)
    os._exit(EXIT_INTERRUPTED)
