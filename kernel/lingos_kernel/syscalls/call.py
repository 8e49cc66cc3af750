"""A call as its caller holds it: its events, its one end, and the way to cancel it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Hashable
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.events import AnyEvent, Failure, Result
from lingos_kernel.syscalls.stream import EventStream

if TYPE_CHECKING:
    from lingos_kernel.processes import Process
    from lingos_kernel.syscalls.context import CallContext
    from lingos_kernel.syscalls.schema import Syscall
    from lingos_kernel.syscalls.work import Work

log = logging.getLogger(__name__)


class CallClock:
    """A time limit that can stand still."""

    __slots__ = ("_expire", "_limit_s", "_since_s", "_spent_s", "_timer")

    def __init__(self, limit_s: float, expire: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._expire = expire
        self._spent_s = 0.0
        self._since_s: float | None = None
        """When it began to run; None while it stands still."""
        self._timer: asyncio.TimerHandle | None = None

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the time that is left run; no effect while it runs."""
        if self._since_s is None:
            self._since_s = loop.time()
            if self._limit_s != float("inf"):
                left_s = max(self._limit_s - self._spent_s, 0.0)
                self._timer = loop.call_later(left_s, self._expire)

    def halt(self) -> None:
        """Let it stand still."""
        if self._since_s is not None:
            self._spent_s += asyncio.get_running_loop().time() - self._since_s
            self._since_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def set_limit(self, limit_s: float) -> None:
        """Allow so many seconds in all from now on; what was spent counts."""
        was_running = self._since_s is not None
        self.halt()
        self._limit_s = limit_s
        if was_running:
            self.run(asyncio.get_running_loop())


class Call:
    """One call, from its submission to its end. Made by `Dispatcher.submit`; lives on its loop.

    It ends in exactly one of `Result` and `Failure`, which stays as `outcome`.
    """

    __slots__ = (
        "__weakref__",
        "_cancel",
        "_on_end",
        "argument_names",
        "arguments",
        "call_id",
        "cause",
        "children",
        "clock",
        "confirmed",
        "context",
        "deadline_s",
        "ended_s",
        "entered",
        "limit_s",
        "name",
        "outcome",
        "parent",
        "pid",
        "principal",
        "priority",
        "process",
        "queued_s",
        "returned",
        "started_s",
        "stream",
        "syscall",
        "work",
    )

    def __init__(
        self,
        call_id: str,
        name: str,
        principal: Principal,
        *,
        parent: Call | None,
        queued_s: float,
        confirmed: bool,
        cancel: Callable[[Call, str], None],
    ) -> None:
        """`cancel` is the dispatcher's; times are on its clock."""
        self.call_id = call_id
        self.name = name
        self.principal = principal
        self.parent = parent
        self.confirmed = confirmed
        self.queued_s = queued_s
        self.started_s: float | None = None
        """When its function began."""
        self.ended_s: float | None = None
        self.limit_s = float("inf")
        """Its own time limit, whatever its processes have left."""
        self.deadline_s = float("inf")
        self.pid = 0
        self.priority = 0
        self.syscall: Syscall | None = None
        self.process: Process | None = None
        self.context: CallContext | None = None
        self.argument_names: tuple[str, ...] = ()
        self.arguments: dict[str, Any] = {}
        self.entered = False
        """Whether it takes part in admission (calls from outside do)."""
        self.work: Work | None = None
        self.returned = False
        """Whether its function is known to have returned or raised."""
        self.clock: CallClock | None = None
        """Its time limit; None when the limit of the call above ends it, or it has none."""
        self.children: set[Call] = set()
        self.outcome: Result | Failure | None = None
        self.cause: BaseException | None = None
        """What the function raised, for the log and the traceback."""
        self.stream = EventStream()
        self._on_end: list[Callable[[Call], None]] = []
        self._cancel = cancel

    @property
    def state(self) -> str:
        """queued, running or ended."""
        if self.outcome is not None:
            return "ended"
        return "queued" if self.started_s is None else "running"

    @property
    def is_running(self) -> bool:
        """Whether its function has begun and the call has not ended."""
        return self.started_s is not None and self.outcome is None

    @property
    def run_s(self) -> float:
        """How long it has run, once it has ended; 0 when its function never began."""
        if self.started_s is None or self.ended_s is None:
            return 0.0
        return max(self.ended_s - self.started_s, 0.0)

    @property
    def depth(self) -> int:
        """How many calls it is nested in."""
        depth, above = 0, self.parent
        while above is not None:
            depth, above = depth + 1, above.parent
        return depth

    @property
    def tenant_key(self) -> Hashable:
        """Whose share of the bounds it takes."""
        return self.principal.tenant, self.principal.name

    def cancel(self, reason: str = "cancelled by the caller") -> None:
        """End it as `Cancelled`, and the calls nested in it; no effect on an ended call."""
        self._cancel(self, reason)

    def on_end(self, callback: Callable[[Call], None]) -> None:
        """Run the callback on the loop when the call has ended; at once when it has already."""
        if self.outcome is not None:
            callback(self)
        else:
            self._on_end.append(callback)

    def end(self, outcome: Result | Failure, cause: BaseException | None) -> None:
        """Set the outcome and tell everybody who waits; the dispatcher's part, done once."""
        self.outcome = outcome
        self.cause = cause
        self.stream.put(outcome)
        callbacks, self._on_end = self._on_end, []
        for callback in callbacks:
            try:
                callback(self)
            except Exception:  # whoever waited, the call must still leave the pipeline
                log.exception("a callback at the end of call %s failed", self.call_id)

    async def events(self) -> AsyncGenerator[AnyEvent, None]:
        """Every event in order, the end last. For one reader, which should close it when done.

        Closing it early cancels the call, unless somebody waits for the result.
        """
        if self.stream.has_reader:
            raise RuntimeError(f"the events of call {self.call_id} have a reader already")
        self.stream.attach()
        try:
            while True:
                event = await self.stream.get()
                yield event
                if isinstance(event, Result | Failure):
                    return
        finally:
            if self._on_end:
                self.stream.drain()
            elif self.outcome is None:
                self.cancel("its reader has gone away")

    async def result(self) -> Any:
        """The result's data; raises the `LingOSError` that the call ended in.

        Any number may wait. Unless somebody reads the events, streamed pieces are not kept.
        Cancelling the waiting task leaves the call alone.
        """
        if self.outcome is None:
            if not self.stream.has_reader:
                self.stream.drain()
            done = asyncio.get_running_loop().create_future()

            def wake(_: Call) -> None:
                if not done.done():
                    done.set_result(None)

            self._on_end.append(wake)
            try:
                await done
            finally:
                if wake in self._on_end:
                    self._on_end.remove(wake)
        return self.unwrap()

    def unwrap(self) -> Any:
        """The data of an ended call, or its error raised."""
        assert self.outcome is not None
        if isinstance(self.outcome, Result):
            return self.outcome.data
        raise self.error() from self.cause

    def error(self) -> LingOSError:
        """The error that an ended call ended in."""
        assert isinstance(self.outcome, Failure)
        return from_wire(self.outcome.error)
