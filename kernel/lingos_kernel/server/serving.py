"""Serving one kernel on one socket, from the first ping to the last answer."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import KernelUnavailable, LingOSError
from lingos_kernel.server.app import create_app
from lingos_kernel.server.presence import Presence
from lingos_kernel.server.protocol import make_server

if TYPE_CHECKING:
    from lingos_kernel.kernel import Kernel

log = logging.getLogger(__name__)

DRAIN_S = 10.0
"""How long a stopping kernel lets running calls go on before it cancels them."""
IDLE_CHECK_S = 5.0


class StopRequest:
    """Asks a serving kernel to stop: from then on nothing new begins, running calls may end.

    Asked again, it no longer waits for those.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urgent = asyncio.Event()

    def ask(self, why: str) -> None:
        """Stop, for a reason that goes to the log."""
        log.info("stopping: %s", why)
        if self.asked.is_set():
            self.urgent.set()
        self.asked.set()


async def serve(
    boot: Callable[[], Awaitable[Kernel]],
    listener: socket.socket,
    stop: StopRequest,
    *,
    ready: Callable[[], None] = lambda: None,
    idle_exit_s: float = 0.0,
    drain_s: float = DRAIN_S,
) -> None:
    """Answer on the listening socket, bring up a kernel behind it, and go on until asked to stop.

    Pings are answered from the first moment, calls wait for the kernel that `boot` gives. `ready`
    is called when it is there. Closes the socket. Raises what `boot` raises.
    """
    presence = Presence(time.monotonic, stop.asked)
    booted: asyncio.Future[Kernel] = asyncio.get_running_loop().create_future()
    server = make_server(create_app(booted, presence), presence)
    with listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await _boot(boot, booted)
            ready()
            await _until_stop(booted.result(), presence, serving, stop, idle_exit_s)
            server.stop_listening()
            await first(presence.drained(drain_s), stop.urgent.wait())
        finally:
            if not booted.exception():
                await booted.result().stop()
            server.should_exit = True
            await serving


async def started(kernel: Kernel) -> Kernel:
    """The kernel, started."""
    await kernel.start()
    return kernel


async def _boot(boot: Callable[[], Awaitable[Kernel]], booted: asyncio.Future[Kernel]) -> None:
    """Hand the kernel, or the reason why there is none, to the calls that wait for it."""
    try:
        booted.set_result(await boot())
    except BaseException as error:
        reason = KernelUnavailable(f"the kernel could not start: {error}", hint="see its log")
        booted.set_exception(error if isinstance(error, LingOSError) else reason)
        raise


async def _until_stop(
    kernel: Kernel,
    presence: Presence,
    serving: asyncio.Task[None],
    stop: StopRequest,
    idle_exit_s: float,
) -> None:
    """Return when the kernel is to stop: it was asked to, is idle, or is served no longer."""
    reasons = [asyncio.wait({serving}), stop.asked.wait()]
    if idle_exit_s:
        reasons.append(until_idle(presence, lambda: is_busy(kernel), idle_exit_s))
    await first(*reasons)
    if not stop.asked.is_set():
        stop.ask("nobody is here and nothing runs")


def is_busy(kernel: Kernel) -> bool:
    """Whether calls are in flight, with or without a client."""
    stats = kernel.dispatcher.stats()
    return stats.queued + stats.running > 0


async def until_idle(
    presence: Presence,
    is_busy: Callable[[], bool],
    idle_exit_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Return when for so long nobody has been connected and nothing ran."""
    busy_s = clock()
    while True:
        if is_busy():
            busy_s = clock()
        idle_s = min(clock() - busy_s, presence.absent_s)
        if idle_s >= idle_exit_s:
            return
        await sleep(min(idle_exit_s - idle_s, IDLE_CHECK_S))


async def first(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them returns, and cancel the others. Raises what it raises."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in done:
        task.result()
