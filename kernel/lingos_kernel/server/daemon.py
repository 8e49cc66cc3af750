"""The resident kernel as a process: run it, start it in the background, stop it, look at it.

Importing this is cheap; what serving needs is imported by `run` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lingos_kernel.client.connect import connect
from lingos_kernel.client.http import HttpClient
from lingos_kernel.client.launch import log_file
from lingos_kernel.errors import Busy, KernelUnavailable
from lingos_kernel.server.claim import Claim, claim, holder

if TYPE_CHECKING:
    from lingos_kernel.config import Config
    from lingos_kernel.kernel import Kernel
    from lingos_kernel.server.logs import KernelLog

log = logging.getLogger(__name__)

STOP_S = 40.0
"""How long `stop` waits for the kernel to leave by itself: draining, then ending its engine."""
KILL_S = 10.0


@dataclass(frozen=True, slots=True)
class KernelStatus:
    """What there is to say about the kernel behind a socket."""

    state: Literal["starting", "running", "silent", "stopped"]
    """silent: its process lives, but does not answer."""
    socket: Path
    log: Path
    os_pid: int | None = None
    version: str = ""
    started_s: float | None = None
    """Unix time."""
    warning: str = ""


def status(config: Config) -> KernelStatus:
    """Whether a kernel runs, and which."""
    socket, log_path = config.kernel.socket, log_file(config)
    pid = holder(socket)
    if pid is None:
        return KernelStatus("stopped", socket, log_path)
    try:
        answer = asyncio.run(_ping(socket))
    except KernelUnavailable as error:
        return KernelStatus("silent", socket, log_path, pid, warning=str(error))
    return KernelStatus(
        "running", socket, log_path, pid,
        answer["version"], answer["started_s"], answer["warning"],
    )  # fmt: skip


def start(config: Config) -> KernelStatus:
    """Start a kernel in the background unless one runs; returns when it answers.

    Raises `KernelUnavailable` with the last lines of its log.
    """
    asyncio.run(_connect_once(config))
    return status(config)


def stop(config: Config, *, timeout_s: float = STOP_S) -> bool:
    """Stop the kernel; returns when its process has ended. False when none ran.

    It first lets running calls end, for a while. One that has not left in time is killed.
    """
    pid = holder(config.kernel.socket)
    if pid is None:
        return False
    with contextlib.suppress(ProcessLookupError):  # it left by itself
        os.kill(pid, signal.SIGTERM)
        if not has_ended(pid, timeout_s):
            os.kill(pid, signal.SIGKILL)
            has_ended(pid, KILL_S)
    with contextlib.suppress(Busy):  # somebody has started the next one
        claim(config.kernel.socket).release()
    return True


def has_ended(pid: int, timeout_s: float) -> bool:
    """Wait until a process, anybody's child, has ended; whether it did in time.

    Raises `ProcessLookupError` when there is none.
    """
    if sys.platform != "linux":
        import psutil

        if not psutil.pid_exists(pid):
            raise ProcessLookupError(pid)
        return not psutil.wait_procs([psutil.Process(pid)], timeout_s)[1]
    # Not psutil here: it also waits for the parent to take notice, which not every parent does.
    descriptor = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(descriptor)


def run(
    config: Config, *, detached: bool = False, ready: Callable[[], None] = lambda: None
) -> None:
    """Be the kernel, until a signal or idleness ends it. Raises `Busy` when one runs already.

    SIGTERM and SIGINT stop it, a second one at once. SIGHUP stops it in the foreground; detached,
    it opens the log anew.
    """
    claimed = claim(config.kernel.socket)  # before the imports: who comes second learns it quickly
    try:
        from lingos_kernel.server.logs import start_logging

        handler = start_logging(config, log_file(config), detached=detached)
        faulthandler.enable()
        asyncio.run(_serve(config, claimed, handler, detached, ready))
        log.info("stopped")
    finally:
        claimed.release()


async def _serve(
    config: Config, claimed: Claim, handler: KernelLog, detached: bool, ready: Callable[[], None]
) -> None:
    from lingos_kernel.server.serving import StopRequest, serve

    stop_request = StopRequest()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop_request.ask, f"got {number.name}")
    if detached:
        loop.add_signal_handler(signal.SIGHUP, handler.reopen)

    def tell() -> None:
        log.info("pid %d takes calls on %s", os.getpid(), claimed.path)
        ready()

    await serve(
        lambda: _boot(config),
        claimed.listener,
        stop_request,
        ready=tell,
        idle_exit_s=config.kernel.idle_exit_s,
    )


async def _boot(config: Config) -> Kernel:
    """A started kernel; importing it takes long enough to be done beside the loop."""
    from lingos_kernel.server.serving import started

    module = await asyncio.to_thread(import_module, "lingos_kernel.kernel")
    return await started(module.Kernel(config))


async def _connect_once(config: Config) -> None:
    async with await connect(config):
        pass


async def _ping(socket: Path) -> dict[str, Any]:
    async with HttpClient(socket) as client:
        return await client.ping()
