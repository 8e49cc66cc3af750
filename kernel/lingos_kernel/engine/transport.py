"""How the kernel reaches an engine: in a child process over pipes, or in a thread of this one.

A transport starts engines one after another: after a death or a close it can be opened again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from lingos_kernel.engine.framing import FrameDecoder, frame
from lingos_kernel.engine.messages import Command, Event, Pulse, Ready, Shutdown, decode_event
from lingos_kernel.engine.pulse import PERIOD_S
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.watchdog import Patience, Watchdog
from lingos_kernel.engine.worker import ENGINE_CORE, Core, CoreFactory, Inbox, core_factory, serve
from lingos_kernel.errors import EngineError

log = logging.getLogger("lingos.engine")

LOG_LINES_KEPT = 40
CLOSE_S = 5.0
"""How long a step in progress may take to finish when the engine is asked to leave."""
TERMINATE_S = 2.0
LAST_WORDS_S = 1.0
"""How long a dead process's pipes are read on when something else still holds them open."""


PATIENT = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}
"""Torch's threads look for each other a tenth of a millisecond or so, then sleep (GNU's OpenMP and
LLVM's). By default they look much longer, and burn cores that others want."""


@dataclass(frozen=True, slots=True)
class Death:
    """Why an engine ended without being asked to."""

    cause: str
    log_lines: tuple[str, ...] = ()
    """The last lines of its log, oldest first."""


def patience(environ: Mapping[str, str]) -> dict[str, str]:
    """How torch's threads are to wait, unless the user has said so by one of the variables."""
    is_set = any(name in environ for name in (*PATIENT, "OMP_WAIT_POLICY"))
    return {} if is_set else PATIENT


OnEvent = Callable[[Event], None]
OnDeath = Callable[[Death], None]


class Transport(Protocol):
    """Carries commands to an engine and its events back, both in order."""

    async def open(self, on_event: OnEvent, on_death: OnDeath) -> None:
        """Start an engine. Both functions are called on this asyncio loop.

        `on_death` is called once, after the last event, when the engine ends by itself; nothing
        is called once `close` has begun. Raises `OSError` when it cannot be started.
        """

    def send(self, command: Command) -> None:
        """Pass a command on; lost when the engine is dead."""

    async def close(self) -> None:
        """End the engine, gently first, within seconds. Safe to call at any time."""

    @property
    def os_pid(self) -> int | None:
        """The process that the engine runs in, while it runs."""


class PipeTransport:
    """An engine in a child process, so that its crash or a kill is survived."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        core: str = ENGINE_CORE,
        patience: Patience | None = None,
    ) -> None:
        """`core` names the factory of the engine's core, as MODULE:NAME.

        A process that lives but does nothing is killed when `patience` is over.
        """
        self._patience = patience or Patience()
        # -P: a file named like a library in the user's folder must not be imported for it.
        self._arguments = (
            *(sys.executable, "-P", "-m", "lingos_kernel.engine.worker"),
            *(msgspec.json.encode(settings).decode(), core),
        )
        self._child: _Child | None = None

    async def open(self, on_event: OnEvent, on_death: OnDeath) -> None:
        """Start the process; see `Transport`."""
        # A session of its own keeps the terminal's Ctrl-C away from it.
        self._child = child = _Child(on_event, on_death, self._patience)
        await asyncio.get_running_loop().subprocess_exec(
            lambda: child,
            *self._arguments,
            start_new_session=True,
            env={**patience(os.environ), **os.environ},
        )

    def send(self, command: Command) -> None:
        """Pass a command on; lost when the engine is dead."""
        if self._child:
            self._child.write(frame(command))

    async def close(self) -> None:
        """Ask it to leave, then terminate it, then kill it."""
        child, self._child = self._child, None
        if child:
            await child.end()

    @property
    def os_pid(self) -> int | None:
        """The child's pid, while it runs."""
        return self._child.os_pid if self._child else None


class _Child(asyncio.SubprocessProtocol):
    """One engine process, from start to end."""

    def __init__(self, on_event: OnEvent, on_death: OnDeath, patience: Patience) -> None:
        self._on_event = on_event
        self._on_death = on_death
        self._patience = patience
        self._frames = FrameDecoder()
        self._log = LogLines()
        self._loop = asyncio.get_running_loop()
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._is_closing = False
        self._watchdog: Watchdog | None = None
        """There from `Ready` on: the start has a time limit of its own."""
        self._complaint = ""
        self._process: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._process = transport

    @property
    def os_pid(self) -> int | None:
        return self._process.get_pid() if self._process and not self._gone.done() else None

    def write(self, data: bytes) -> None:
        assert self._process  # commands are sent after `Ready`
        pipe = self._process.get_pipe_transport(0)
        assert isinstance(pipe, asyncio.WriteTransport)
        if not pipe.is_closing():
            pipe.write(data)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._log.feed(data)
            return
        try:
            events = [decode_event(payload) for payload in self._frames.feed(data)]
        except (EngineError, msgspec.MsgspecError) as error:
            self._log.add(f"ERROR the engine's answer cannot be read: {error}")
            self._signal(signal.SIGKILL)
            return
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Ready):
            self._watchdog = Watchdog(self._patience, self._loop.time(), period_s=PERIOD_S)
            self._loop.call_later(PERIOD_S, self._look, self._watchdog)
        pulse = event if isinstance(event, Pulse) else None
        if self._watchdog:
            self._watchdog.heard(self._loop.time(), pulse)
        if not (self._is_closing or pulse):
            self._on_event(event)

    def _look(self, watchdog: Watchdog) -> None:
        """End a process that lives but does nothing."""
        if self._is_closing or self._gone.done():
            return
        self._complaint = watchdog.complaint(self._loop.time())
        if self._complaint:
            self._signal(signal.SIGKILL)
        else:
            self._loop.call_later(PERIOD_S, self._look, watchdog)

    def process_exited(self) -> None:
        # Its pipes close now as well, unless a process that it started holds them open.
        self._loop.call_later(LAST_WORDS_S, self._die)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._die()

    def _die(self) -> None:
        if self._gone.done():
            return
        assert self._process
        self._gone.set_result(None)
        self._process.close()
        if not self._is_closing:
            cause = _exit_cause(self._process.get_returncode())
            if self._complaint:
                cause = f"{self._complaint}, and {cause}"
            self._on_death(Death(cause, self._log.lines))

    async def end(self) -> None:
        self._is_closing = True
        if not self._process:
            return  # its start failed
        try:
            if self._watchdog:  # else it is being imported, and would read nothing for a while
                self.write(frame(Shutdown()))
                await asyncio.wait([self._gone], timeout=CLOSE_S)
            self._signal(signal.SIGTERM)
            await asyncio.wait([self._gone], timeout=TERMINATE_S)
            self._signal(signal.SIGKILL)
            await self._gone
        finally:
            self._process.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._process and not self._gone.done():
            with contextlib.suppress(ProcessLookupError):  # it left by itself just now
                self._process.send_signal(number)


def _exit_cause(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"left with exit status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"


class LogLines:
    """Passes an engine's log on to `logging` line by line, and keeps the last lines."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._unfinished = b""

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first; the very last one may be unfinished."""
        rest = self._unfinished.decode(errors="replace")
        return (*self._kept, rest) if rest else tuple(self._kept)

    def feed(self, data: bytes) -> None:
        """Take in a piece of the log, cut anywhere."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self.add(line.decode(errors="replace"))

    def add(self, line: str) -> None:
        """Take in a line; its first word is its level, INFO if it is none."""
        self._kept.append(line)
        level = logging.getLevelNamesMapping().get(line.partition(" ")[0], logging.INFO)
        log.log(level, "%s", line)


class ThreadTransport:
    """An engine in a daemon thread of this process, for programs that embed LingOS.

    An error in the core ends it as a crash would end a process; a real crash ends the program.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        core: CoreFactory | str = ENGINE_CORE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`core` makes the engine's core in the thread; a string names it, as MODULE:NAME."""
        self._settings = settings
        self._core = core
        self._clock = clock
        self._run: _Run | None = None

    async def open(self, on_event: OnEvent, on_death: OnDeath) -> None:
        """Start the thread; see `Transport`."""
        self._run = _Run(on_event, on_death)
        thread = threading.Thread(
            target=self._run.main, args=(self._make_core,), name="lingos-engine", daemon=True
        )
        thread.start()

    def _make_core(self) -> Core:
        factory = core_factory(self._core) if isinstance(self._core, str) else self._core
        return factory(self._settings, self._clock)

    def send(self, command: Command) -> None:
        """Pass a command on; lost when the engine is dead."""
        if self._run:
            self._run.inbox.put(command)

    async def close(self) -> None:
        """Ask it to leave after its step; a thread that does not is left behind, and logged."""
        run, self._run = self._run, None
        if run:
            await run.end()

    @property
    def os_pid(self) -> int | None:
        """This process's pid, while the thread runs."""
        return os.getpid() if self._run and not self._run.gone.done() else None


class _Run:
    """One engine thread, from start to end."""

    def __init__(self, on_event: OnEvent, on_death: OnDeath) -> None:
        self._on_event = on_event
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._is_closing = False
        self.inbox: Inbox = queue.SimpleQueue()
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def main(self, make_core: Callable[[], Core]) -> None:
        """What the thread does."""
        death = None
        try:
            serve(make_core(), self.inbox, self._send)
        except BaseException as error:  # noqa: BLE001 - whatever it was, the kernel is told
            lines = tuple("".join(traceback.format_exception(error)).splitlines())
            log.error("the engine's thread failed\n%s", "\n".join(lines))
            death = Death(f"failed with {type(error).__name__}: {error}", lines[-LOG_LINES_KEPT:])
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._end, death)

    def _send(self, events: Sequence[Event]) -> None:
        if events:
            self._loop.call_soon_threadsafe(self._deliver, events)

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            if not self._is_closing:
                self._on_event(event)

    def _end(self, death: Death | None) -> None:
        self.gone.set_result(None)
        if death and not self._is_closing:
            self._on_death(death)

    async def end(self) -> None:
        """Ask the thread to leave, and wait for it, up to a bound."""
        self._is_closing = True
        self.inbox.put(Shutdown())
        await asyncio.wait([self.gone], timeout=CLOSE_S + TERMINATE_S)
        if not self.gone.done():
            log.error("the engine's thread is stuck in a step or load; it was left behind")
