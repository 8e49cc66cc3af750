"""Pages held for programs between two turns: whose they are, what they count for, when they end.

The engine keeps the pages; the kernel keeps the books. A hold counts against the page limits of its
process, and ends with it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from lingos_kernel.engine.messages import HoldPages
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.requests import Requests
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.processes.table import KERNEL_PID, ProcessTable
from lingos_kernel.syscalls.spec import Context

LONGEST_HOLD_S = 3600.0
"""That anybody may ask for."""


class Timer(Protocol):
    """What a call that comes later can be called off by."""

    def cancel(self) -> None:
        """Call it off."""


Later = Callable[[float, Callable[[], None]], Timer]


def on_loop(seconds: float, act: Callable[[], None]) -> Timer:
    """Act on the running loop after some seconds."""
    return asyncio.get_running_loop().call_later(seconds, act)


@dataclass(slots=True, eq=False)
class Hold:
    """Pages of one conversation, kept for its next turn."""

    hold_id: str
    pid: int
    """The process that it ends with."""
    until_s: float
    """When it ends by itself, on the kernel's clock."""
    pages: Awaitable[int]
    """How many the engine keeps; 0 when it could not."""
    books: ExitStack = field(default_factory=ExitStack)
    """Closed: its timer is off, its pages count no more."""


class Holds:
    """All holds of a kernel. Observes the process table (`processes.table.ProcessObserver`)."""

    def __init__(
        self,
        engine: Engine,
        processes: ProcessTable,
        requests: Requests,
        *,
        clock: Callable[[], float],
        later: Later = on_loop,
    ) -> None:
        self._clock = clock
        self._engine = engine
        self._processes = processes
        self._requests = requests
        self._later = later
        self._holds: dict[str, Hold] = {}
        self._contexts: dict[tuple[str, str], Hold] = {}

    def keep(
        self,
        call: Context,
        model: str,
        tokens: Sequence[int],
        *,
        for_s: float,
        why: str,
        owner: int | None = None,
    ) -> Hold:
        """Hold the pages of the tokens for the next turn of the call's process.

        It takes the place in line of the process's newest request. `owner`: the process that it
        ends with, the call's own when not given.
        """
        hold_id = f"hold-{uuid.uuid4().hex[:12]}"
        command = HoldPages(
            hold_id=hold_id,
            model=model,
            tokens=tuple(tokens),
            for_s=for_s,
            tenant=call.principal.tenant,
            share=call.principal.prefix_share,
            pid=call.pid,
            priority=self._processes.get(call.pid).priority,
            after=self._requests.work(call.pid).request_id,
            why=why,
        )
        hold = Hold(
            hold_id,
            call.pid if owner is None else owner,
            self._clock() + for_s,
            self._engine.hold_pages(command),
        )
        pages = len(tokens) // PAGE_SLOTS
        hold.books.enter_context(self._processes.holding(call.pid, pages=pages))
        hold.books.callback(self._later(for_s, lambda: self.release(hold)).cancel)
        self._holds[hold_id] = hold
        return hold

    def hand_over(self, hold: Hold | None) -> str:
        """The id for the next turn to name; from here on its own pages count instead."""
        if hold is None:
            return ""
        hold.books.close()
        return hold.hold_id

    def release(self, hold: Hold | None) -> None:
        """End a hold; one that has ended is left as it is."""
        if hold is None or self._holds.pop(hold.hold_id, None) is None:
            return
        hold.books.close()
        self._engine.release_pages(hold.hold_id)
        self._contexts = {key: held for key, held in self._contexts.items() if held is not hold}

    # Contexts

    def of_context(self, tenant: str, name: str) -> Hold | None:
        """The hold of a context, if there is one."""
        return self._contexts.get((tenant, name))

    def renew_context(
        self,
        call: Context,
        name: str,
        model: str,
        tokens: Sequence[int],
        hold: Hold | None,
        *,
        least_s: float,
    ) -> None:
        """Hold what a context holds now for as long as `hold` was to last, and for `least_s`.

        Does nothing for a process that has ended meanwhile.
        """
        self.release(hold)
        for_s = max(least_s, hold.until_s - self._clock() if hold else 0.0)
        if for_s <= 0 or not self._processes.is_live(call.pid):
            return
        # A call from outside has a process for as long as it lasts: its hold outlives that.
        is_outside = self._processes.get(call.pid).kind == "call"
        self._contexts[call.principal.tenant, name] = self.keep(
            call,
            model,
            tokens,
            for_s=for_s,
            why=f"context {name}",
            owner=KERNEL_PID if is_outside else None,
        )

    # What becomes of processes

    def ended(self, pid: int) -> None:
        """End the holds of a process."""
        for hold in [hold for hold in self._holds.values() if hold.pid == pid]:
            self.release(hold)

    def reniced(self, pid: int, priority: int) -> None:
        """Its holds become as urgent as it is."""
        for hold in self._holds.values():
            if hold.pid == pid:
                self._engine.set_priority(hold.hold_id, priority)

    def cancel_calls(self, pid: int, reason: str) -> None:
        """Nothing to do: a cancelled call ends its own hold."""

    def stopped(self, pid: int) -> None:
        """Nothing to do: time goes on for the holds of a stopped process."""

    def continued(self, pid: int) -> None:
        """Nothing to do."""
