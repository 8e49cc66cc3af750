"""An engine for tests: answers by a script, on the test's own asyncio loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.messages import Command, Event, Ready
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.engine.transport import Death, OnDeath, OnEvent
from lingos_kernel.engine.worker import Core
from lingos_kernel.testing.script import Script, echo
from lingos_kernel.testing.scripted_core import ScriptedCore
from lingos_kernel.testing.scripted_sequence import Logprob, even_odds


class InlineTransport:
    """Runs a core on the asyncio loop itself: each turn takes the commands in and steps once."""

    def __init__(self, make_core: Callable[[], Core], *, is_automatic: bool) -> None:
        self._make_core = make_core
        self._is_automatic = is_automatic
        self._core: Core | None = None
        self._arrived: list[Command] = []
        self._turn: asyncio.Handle | None = None
        self.commands: list[Command] = []

    async def open(self, on_event: OnEvent, on_death: OnDeath) -> None:
        """Make a core; see `Transport`."""
        self._on_event = on_event
        self._on_death = on_death
        self._core = self._make_core()
        self._deliver([Ready(os_pid=os.getpid(), device=self._core.device)])

    def send(self, command: Command) -> None:
        """Pass a command on at the loop's next turn."""
        if self._core:
            self.commands.append(command)
            self._arrived.append(command)
            self._schedule()

    async def close(self) -> None:
        """Drop the core."""
        self._drop()

    @property
    def os_pid(self) -> int | None:
        """This process's pid, while there is a core."""
        return os.getpid() if self._core else None

    def step(self) -> None:
        """Take in what arrived, then step once."""
        self._take_in()
        self._run(_step)

    def die(self, cause: str) -> None:
        """Lose the core, as if its process had crashed."""
        if self._core:
            self._drop()
            self._on_death(Death(cause))

    def _drop(self) -> None:
        self._core = None
        self._arrived.clear()
        if self._turn:
            self._turn.cancel()
            self._turn = None

    def _schedule(self) -> None:
        if self._core and not self._turn:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        if self._is_automatic:
            self.step()
            if self._core and self._core.has_work:
                self._schedule()
        else:
            self._take_in()

    def _take_in(self) -> None:
        commands, self._arrived = self._arrived, []
        for command in commands:
            self._run(partial(_handle, command))

    def _run(self, act: Callable[[Core], Sequence[Event]]) -> None:
        """Act on the core; an error that it raises is its death."""
        if not self._core:
            return
        try:
            events = act(self._core)
        except Exception as error:  # noqa: BLE001 - as a crash would end a process
            self.die(f"failed with {type(error).__name__}: {error}")
            return
        self._deliver(events)

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            self._on_event(event)


def _handle(command: Command, core: Core) -> Sequence[Event]:
    return core.handle(command)


def _step(core: Core) -> Sequence[Event]:
    return core.step() if core.has_work else ()


class ScriptedEngine(EngineHost):
    """The real engine host over a `ScriptedCore`: all of the contract, crashes included.

    Deterministic: one token per running sequence at each turn of the loop, or at each `step()`
    when it is not automatic.

        engine = ScriptedEngine({"Hello": "Hi there."})
    """

    def __init__(
        self,
        script: Script = echo,
        *,
        is_automatic: bool = True,
        clock: Callable[[], float] = time.monotonic,
        settings: EngineSettings | None = None,
        logprob: Logprob = even_odds,
        restart: RestartPolicy | None = None,
    ) -> None:
        """Not `is_automatic`: tokens come only when `step` is called."""
        settings = settings or EngineSettings()
        self._inline = InlineTransport(
            lambda: ScriptedCore(settings, clock, script=script, logprob=logprob),
            is_automatic=is_automatic,
        )
        super().__init__(self._inline, restart=restart, clock=clock)

    @property
    def commands(self) -> list[Command]:
        """Every command that the engine got so far, over all of its lives."""
        return self._inline.commands

    def step(self, count: int = 1) -> None:
        """Advance every running sequence by `count` tokens."""
        for _ in range(count):
            self._inline.step()

    def crash(self, cause: str = "was killed by SIGKILL") -> None:
        """Lose the engine with all it knew; the host brings it back."""
        self._inline.die(cause)
