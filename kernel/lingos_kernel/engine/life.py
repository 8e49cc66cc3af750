"""Keeps an engine alive: starts it, sees it die, brings it back, or gives it up for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, Protocol

from lingos_kernel.engine.messages import Command, DeviceInfo, Event, Ready
from lingos_kernel.engine.supervision import RestartPolicy, Supervisor
from lingos_kernel.engine.transport import Death, Transport
from lingos_kernel.errors import Cancelled, EngineDied, EngineError, LingOSError

log = logging.getLogger("lingos.engine")

LOG_LINES_SHOWN = 5

State = Literal["stopped", "starting", "up", "dead"]


class Owner(Protocol):
    """Who is told about the life of an engine."""

    def on_up(self) -> None:
        """An engine is ready and knows nothing yet."""

    def on_event(self, event: Event) -> None:
        """The engine said something."""

    def on_crash(self, cause: str) -> None:
        """The engine is gone, with everything it knew."""

    def on_end(self, error: LingOSError) -> None:
        """No engine follows: it was stopped, or given up."""


class EngineLife:
    """One engine after another behind a transport, as long as one is wanted."""

    def __init__(
        self,
        transport: Transport,
        owner: Owner,
        *,
        policy: RestartPolicy,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._owner = owner
        self._supervisor = Supervisor(policy)
        self._clock = clock
        self._state: State = "stopped"
        self._starting: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Set unless the engine is being started."""
        self._attempt = asyncio.Event()
        """Set once the engine that was started last is ready, or dead."""
        self._death: Death | None = None
        self.device: DeviceInfo | None = None
        self.restarts = 0

    @property
    def os_pid(self) -> int | None:
        """The pid of the engine's process; None while there is none."""
        return self._transport.os_pid

    @property
    def is_up(self) -> bool:
        """Whether an engine takes commands."""
        return self._state == "up"

    def send(self, command: Command) -> None:
        """Pass a command on; dropped when no engine is up."""
        if self.is_up:
            self._transport.send(command)

    async def start(self) -> None:
        """Bring an engine up; raises `EngineDied` when it cannot."""
        if self._state in ("stopped", "dead"):
            self._begin()
        await self.wait_until_up()

    async def stop(self) -> None:
        """End the engine, within seconds."""
        self._state = "stopped"
        if self._starting:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        self._settled.set()
        self._owner.on_end(_stopped())
        await self._transport.close()

    def admit(self) -> None:
        """Refuse work that no engine will serve; try again once the cool-down is over."""
        if self._state == "stopped":
            raise EngineError("the engine is not running", hint="start the kernel")
        if self._state == "dead":
            if self._supervisor.retry_after_s(self._clock()) > 0:
                raise self._died()
            self._begin()

    async def wait_until_up(self) -> None:
        """Wait for a start in progress; raises `EngineDied` or `Cancelled` when it ends so."""
        while self._state == "starting":
            await self._settled.wait()
        if self._state == "dead":
            raise self._died()
        if self._state == "stopped":
            raise _stopped()

    def _begin(self) -> None:
        self._supervisor.on_retry()
        self._start_after(0.0)

    def _start_after(self, delay_s: float) -> None:
        self._state = "starting"
        self._settled.clear()
        self._starting = asyncio.create_task(self._open(delay_s), name="lingos-engine-start")

    async def _open(self, delay_s: float) -> None:
        """Start one engine and see it get ready, or die, in time."""
        await asyncio.sleep(delay_s)
        attempt = self._attempt = asyncio.Event()
        try:
            await self._transport.open(self._on_event, self._on_death)
        except OSError as error:
            self._on_death(Death(f"could not be started: {error}"))
        timeout_s = self._supervisor.policy.start_timeout_s
        try:
            await asyncio.wait_for(attempt.wait(), timeout_s)
        except TimeoutError:
            await self._transport.close()
            self._on_death(Death(f"was not ready within {timeout_s:.0f} s"))

    def _on_event(self, event: Event) -> None:
        if self._state not in ("starting", "up"):
            return
        if not isinstance(event, Ready):
            self._owner.on_event(event)
            return
        self._state = "up"
        self.device = event.device
        self.restarts += self._death is not None
        self._death = None
        self._attempt.set()
        self._settled.set()
        self._owner.on_up()

    def _on_death(self, death: Death) -> None:
        if self._state not in ("starting", "up"):
            return
        log.error("the engine %s", death.cause)
        self._state = "starting"
        self._death = death
        self._attempt.set()
        self._owner.on_crash(death.cause)
        delay_s = self._supervisor.on_crash(self._clock())
        if delay_s is not None:
            self._start_after(delay_s)
            return
        self._state = "dead"
        self._settled.set()
        self._owner.on_end(self._died())

    def _died(self) -> EngineDied:
        assert self._death
        lines = self._death.log_lines
        shown = "".join(f"\n  {line}" for line in lines[-LOG_LINES_SHOWN:])
        retry_s = self._supervisor.retry_after_s(self._clock())
        return EngineDied(
            f"the engine {self._death.cause}, again and again{shown}",
            hint=f"try again in {retry_s:.0f} s; `lingos doctor` looks for the reason",
            cause=self._death.cause,
            log_lines=list(lines),
        )


def _stopped() -> Cancelled:
    return Cancelled("the engine was stopped", hint="start the kernel again")
