"""Waiting for a future from a thread or from the event loop, without ever cancelling it.

The owner of such a future settles it, and forgets it, under its own lock. So a waiter whose time
is over asks the owner under that lock whether it was settled after all; no result is lost between
a time limit and a settlement.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any


def wait(future: Future[Any], timeout_s: float | None) -> bool:
    """Block until the future is settled; False after `timeout_s`."""
    try:
        future.exception(timeout_s)
    except TimeoutError:
        return False
    return True


async def wait_async(future: Future[Any], timeout_s: float | None) -> bool:
    """Await until the future is settled, perhaps by another thread; False after `timeout_s`."""
    loop = asyncio.get_running_loop()
    settled = asyncio.Event()

    def tell(_: Future[Any]) -> None:
        if not loop.is_closed():  # the waiter was cancelled with its loop; nobody listens
            loop.call_soon_threadsafe(settled.set)

    future.add_done_callback(tell)
    try:
        async with asyncio.timeout(timeout_s):
            await settled.wait()
    except TimeoutError:
        return False
    return True
