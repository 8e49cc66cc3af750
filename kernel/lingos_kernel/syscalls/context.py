"""The call as its function sees it."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import Cancelled, UsageError
from lingos_kernel.syscalls.events import AnyEvent, Progress

if TYPE_CHECKING:
    from lingos_kernel.processes import Limits
    from lingos_kernel.syscalls.call import Call
    from lingos_kernel.syscalls.dispatch import Dispatcher

LOOK_S = 1.0
"""How often a waiting thread looks whether the loop that should answer is still there."""

_progress_lock = threading.Lock()  # for two assignments; one for all calls is enough


class CallContext:
    """Implements `spec.Context`. Methods ending in `_sync` are for pool threads, `progress` and
    `check_cancelled` for both, the others for the loop."""

    __slots__ = (
        "_call",
        "_dispatcher",
        "_progress",
        "call_id",
        "cancelled",
        "pid",
        "principal",
    )

    def __init__(self, call: Call, dispatcher: Dispatcher) -> None:
        self._call = call
        self._dispatcher = dispatcher
        self._progress: Progress | None = None
        self.call_id = call.call_id
        self.pid = call.pid
        self.principal = call.principal
        self.cancelled = threading.Event()

    @property
    def priority(self) -> int:
        """The priority of the call's process now; lower is more urgent."""
        return self._call.priority

    @property
    def model(self) -> str:
        """The model that the call's process prefers; empty when it has no preference."""
        return self._call.process.model if self._call.process else ""

    @property
    def confirmed(self) -> bool:
        """Whether a person said yes to this call."""
        return self._call.confirmed

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of another syscall; raises its error. Cancelled together with this task."""
        nested = self.start(name, arguments)
        try:
            return await nested.result()
        finally:
            nested.cancel("the call that waited for it went away")

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """The events of another syscall."""
        async with aclosing(self.start(name, arguments).events()) as events:
            async for event in events:
                yield event

    def start(self, name: str, arguments: dict[str, Any]) -> Call:
        """Begin another syscall without waiting; it is cancelled when this call ends."""
        self._must_be_on_loop(True, "call_sync")
        return self._dispatcher.submit(self.principal, name, arguments, parent=self._call)

    def start_tool(
        self, name: str, arguments: dict[str, Any], *, grants: frozenset[str] | None = None
    ) -> Call:
        """Begin a syscall that the model asked for: it counts as a tool call, under the caller's
        capabilities or those of `grants` among them, and no earlier yes of a person covers it."""
        self._must_be_on_loop(True, "call_sync")
        allowed = self.principal if grants is None else self.principal.restricted_to(grants)
        return self._dispatcher.submit(
            replace(allowed, kind="model"), name, arguments, parent=self._call, confirmed=False
        )

    def call_sync(self, name: str, /, **arguments: Any) -> Any:
        """The result of another syscall, for functions on a pool thread; raises its error."""
        return self.map_sync(name, [arguments], parallel=1)[0]

    def map_sync(
        self, name: str, arguments: list[dict[str, Any]], /, *, parallel: int = 8
    ) -> list[Any]:
        """Results of many calls of one syscall, in order, at most `parallel` at a time.

        The first error is raised, and the calls still running are cancelled.
        """
        self._must_be_on_loop(False, "call")
        ended: SimpleQueue[tuple[int, Call]] = SimpleQueue()
        running: dict[int, Call | None] = {}
        results: list[Any] = [None] * len(arguments)
        waiting = list(enumerate(arguments))[::-1]
        try:
            while waiting or running:
                while waiting and len(running) < max(parallel, 1):
                    index, given = waiting.pop()
                    running[index] = None
                    self._start_from_thread(index, name, given, running, ended)
                index, call = self._next_ended(ended, name)
                del running[index]
                results[index] = call.unwrap()
        finally:
            if running:
                self._dispatcher.post(_cancel_all, running)
        return results

    def _start_from_thread(
        self,
        index: int,
        name: str,
        arguments: dict[str, Any],
        running: dict[int, Call | None],
        ended: SimpleQueue[tuple[int, Call]],
    ) -> None:
        def start() -> None:
            call = self._dispatcher.submit(self.principal, name, arguments, parent=self._call)
            if index in running:
                running[index] = call
            call.on_end(lambda call: ended.put((index, call)))

        self.check_cancelled()
        self._dispatcher.post(start)

    def _next_ended(self, ended: SimpleQueue[tuple[int, Call]], name: str) -> tuple[int, Call]:
        with self._dispatcher.pool.blocked(f"call {name}"):
            while True:
                try:
                    return ended.get(timeout=LOOK_S)
                except Empty:
                    if self._dispatcher.is_gone():
                        raise Cancelled("the kernel has stopped") from None

    def progress(
        self, done: float, total: float | None = None, *, unit: str = "", label: str = ""
    ) -> None:
        """Tell the caller how far the call is; a newer report replaces one not yet sent."""
        with _progress_lock:
            unsent, self._progress = self._progress, Progress(done, total, unit, label)
        if unsent is None:
            self._dispatcher.post(self._send_progress)

    def _send_progress(self) -> None:
        with _progress_lock:
            newest, self._progress = self._progress, None
        if newest is not None:
            self._call.stream.put(newest)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the call has been ended."""
        if self.cancelled.is_set():
            raise Cancelled(f"call {self.call_id} of {self._call.name} has been ended")

    def charge(self, *, tokens: int = 0, pages: int = 0) -> None:
        """Count tokens, and pages taken (or given back, negative), for the call's process."""
        self._dispatcher.processes.charge(self.pid, tokens=tokens, pages=pages)

    def remaining(self) -> Limits:
        """What the call's process may still use."""
        return self._dispatcher.processes.remaining(self.pid)

    def _must_be_on_loop(self, wanted: bool, instead: str) -> None:
        if self._dispatcher.is_on_loop() is not wanted:
            where = "on a pool thread" if wanted else "on the event loop, which it would block"
            raise UsageError(
                f"{self._call.name} makes a nested call {where}", hint=f"use context.{instead}"
            )


def _cancel_all(running: dict[int, Call | None]) -> None:
    for call in running.values():
        if call is not None:
            call.cancel("a call beside it failed")
