"""The one path of every call: who, may they, is it right, is there room, run, account, tell.

`submit` decides at once whether a call is taken; `_end` is the only place where one ends. All of
it happens on the kernel's loop; functions run on the loop or the pool (`work`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lingos_kernel.errors import (
    Cancelled,
    InvalidArguments,
    KernelUnavailable,
    LingOSError,
)
from lingos_kernel.processes import Process, ProcessTable
from lingos_kernel.processes.rights import check_priority
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.admission import Admission, Bounds
from lingos_kernel.syscalls.books import Audit, Books
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.checks import NOBODY, check
from lingos_kernel.syscalls.context import CallContext
from lingos_kernel.syscalls.events import Accepted, Failure, Result
from lingos_kernel.syscalls.hooks import Hooks
from lingos_kernel.syscalls.rows import CallState, DispatchStats
from lingos_kernel.syscalls.table import SyscallTable
from lingos_kernel.syscalls.time_limits import TimeLimits
from lingos_kernel.syscalls.work import Runner, failure
from lingos_kernel.threads.pool import ElasticPool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """Bounds of the pipeline."""

    bounds: Bounds = field(default_factory=Bounds)
    call_timeout_s: float = 600.0
    """For syscalls that declare no time limit of their own."""
    depth: int = 32
    """How deep calls may nest."""


class Dispatcher:
    """Takes calls, runs them, and ends each exactly once."""

    def __init__(
        self,
        table: SyscallTable,
        processes: ProcessTable,
        pool: ElasticPool,
        *,
        settings: DispatchSettings = DispatchSettings(),
        hooks: Hooks | None = None,
        audit: Audit | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` is the one of `processes`. It observes `processes` from now on."""
        self.table = table
        self.processes = processes
        self.pool = pool
        self.settings = settings
        self._hooks = hooks
        self.books = Books(audit)
        self._clock = clock
        self._admission = Admission(settings.bounds)
        self._time_limits = TimeLimits(processes, clock=clock, end=self._fail)
        self._runner = Runner(pool, clock=clock, post=self.post, finish=self._finish)
        self._boot = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._live: dict[str, Call] = {}
        self._strays: set[Call] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._closed = False
        self._pumping = False
        processes.observe(self)
        processes.on_end(self._admission.release)
        processes.on_limit(self.limited)

    def start(self) -> None:
        """Take calls from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()

    async def stop(self, timeout_s: float = 5.0) -> int:
        """Refuse new calls, cancel all others, and wait for what runs on the loop to leave.

        Returns how many functions on the loop have not left in time. The pool is its owner's.
        """
        self._closed = True
        for call in list(self._live.values()):
            self._cancel(call, "the kernel is shutting down")
        return await self._runner.drain(timeout_s)

    # Taking calls

    def submit(
        self,
        principal: Principal | None,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        pid: int | None = None,
        priority: int | None = None,
        timeout_s: float | None = None,
        confirmed: bool | None = None,
        parent: Call | None = None,
    ) -> Call:
        """Take a call, or refuse it: then it has ended already, in a `Failure`. Never raises.

        `pid` None gives a call from outside a process of its own for as long as it lasts.
        `timeout_s` may only shorten the syscall's limit. `confirmed` says that a person said yes;
        a nested call (`parent`) inherits that, its parent's process, priority and deadline.
        """
        assert self.is_on_loop(), "calls are submitted on the dispatcher's loop, after `start`"
        if confirmed is None:
            confirmed = parent is not None and parent.confirmed
        call = Call(
            f"{self._boot}-{next(self._numbers)}",
            name,
            principal or NOBODY,
            parent=parent,
            queued_s=self._clock(),
            confirmed=confirmed,
            cancel=self._cancel,
        )
        try:
            if self._closed:
                raise KernelUnavailable("the kernel is shutting down", hint="start it again")
            check(call, principal, self.table, arguments or {})
            starts = self._enter(call, pid, priority)
        except Exception as error:  # noqa: BLE001  a fault here must end this call and no other
            self._finish(call, failure(call, error), error)
            return call
        self._set_deadline(call, timeout_s)
        if starts:
            self._start(call)
        return call

    def _enter(self, call: Call, pid: int | None, priority: int | None) -> bool:
        """Apply limits and bounds, and give the call its process and place; True: start it now."""
        process = self._find_process(call, pid)
        is_tool_call = call.principal.kind == "model"
        if process is not None:
            self.processes.check_limits(process.pid, tool_calls=is_tool_call)
            call.pid = process.pid
            call.priority = process.priority if call.parent is None else call.parent.priority
        if priority is not None:
            check_priority(priority, by=call.principal, now=call.priority)
            call.priority = priority
        starts = True
        if call.parent is None:
            starts = self._admission.enter(call)
            call.entered = True
        else:
            call.parent.children.add(call)
        if process is None:
            process = self.processes.open(
                call.principal, call.name, kind="call", priority=call.priority
            )
            call.pid = process.pid
        if is_tool_call:
            self.processes.charge(call.pid, tool_calls=1)
        call.process = process
        process.calls.add(call)
        call.context = CallContext(call, self)
        self._live[call.call_id] = call
        call.stream.put(Accepted(call.call_id, call.pid))
        self.books.begin(call)
        return starts

    def _find_process(self, call: Call, pid: int | None) -> Process | None:
        """The process that the call belongs to; None when one must be opened for it."""
        parent = call.parent
        if parent is None:
            return None if pid is None else self.processes.owned(pid, call.principal)
        if parent.outcome is not None:
            raise Cancelled(f"the call that makes this one, {parent.call_id}, has ended")
        if parent.depth + 1 >= self.settings.depth:
            raise InvalidArguments(
                f"{call.name}: calls are nested {self.settings.depth} deep",
                hint="a syscall probably calls itself; end the recursion earlier",
            )
        return parent.process

    def _set_deadline(self, call: Call, timeout_s: float | None) -> None:
        assert call.syscall is not None
        assert self._loop is not None
        limit_s = call.syscall.info.timeout_s or self.settings.call_timeout_s
        if timeout_s is not None:
            limit_s = min(limit_s, timeout_s)
        self._time_limits.begin(call, limit_s, self._loop)

    def _start(self, call: Call) -> None:
        try:
            hooks = self._hooks
            if hooks is not None and hooks.watches_before:
                self._ask_plugins(call, hooks)
            if call.outcome is None:
                call.work = self._runner.start(call, on_gone=self._strays.discard)
        except Exception as error:  # noqa: BLE001  as in `submit`
            self._finish(call, failure(call, error), error)

    def _ask_plugins(self, call: Call, hooks: Hooks) -> None:
        assert call.syscall is not None
        before = call.arguments
        after = hooks.before_syscall(call.syscall.info, call.context, before)
        if after is not before:
            call.arguments = call.syscall.validate(after)

    # Ending calls

    def _cancel(self, call: Call, reason: str) -> None:
        if call.outcome is None:
            self._fail(
                call, Cancelled(f"{call.name} was cancelled: {reason}", call_id=call.call_id)
            )

    def _fail(self, call: Call, error: LingOSError) -> None:
        self._finish(call, failure(call, error), error)

    def _finish(
        self, call: Call, outcome: Result | Failure, cause: BaseException | None = None
    ) -> None:
        """End a call, once: whoever comes second finds it ended. On the loop."""
        if call.outcome is not None:
            return
        call.ended_s = self._clock()
        if call.context is not None:
            call.context.cancelled.set()
        if call.clock is not None:
            call.clock.halt()
        call.end(outcome, None if isinstance(cause, LingOSError) else cause)
        if isinstance(cause, Exception) and not isinstance(cause, LingOSError):
            log.error("%s (call %s) raised", call.name, call.call_id, exc_info=cause)
        for child in list(call.children):
            self._cancel(child, f"{call.name}, which made it, has ended")
        self._leave(call)
        self.books.record(call)
        hooks = self._hooks
        if hooks is not None and hooks.watches_after and call.context and call.syscall:
            hooks.after_syscall(call.syscall.info, call.context, outcome)
        self._pump()

    def _leave(self, call: Call) -> None:
        """Take an ended call out of everything that it was part of."""
        self._live.pop(call.call_id, None)
        # A task that ends by itself reports from within: stopping it then would hit its last line.
        if call.work is not None and not call.returned and call.work.stop():
            self._strays.add(call)
        if call.entered:
            self._admission.leave(call, run_s=call.run_s)
        if call.parent is not None:
            call.parent.children.discard(call)
        if (process := call.process) is not None:
            process.calls.discard(call)
            if call.parent is None:
                self.processes.charge(call.pid, seconds=call.run_s)
                if process.kind == "call":
                    self.processes.close(call.pid)

    def _pump(self) -> None:
        """Start waiting calls while there are slots."""
        if self._pumping:  # starting one may end it at once, which leads here again
            return
        self._pumping = True
        try:
            while (call := self._admission.next()) is not None:
                assert isinstance(call, Call)
                self._start(call)
        finally:
            self._pumping = False

    # What processes do to calls (`ProcessObserver`)

    def cancel_calls(self, pid: int, reason: str) -> None:
        """End all calls of a process as cancelled."""
        for call in [call for call in self._live.values() if call.pid == pid]:
            self._cancel(call, reason)

    def stopped(self, pid: int) -> None:
        """Start no more of its waiting calls; the time limits of its calls stand still."""
        self._admission.hold(pid)
        for call in self._live.values():
            if call.pid == pid and call.clock is not None:
                call.clock.halt()

    def continued(self, pid: int) -> None:
        """Its waiting calls may start again, and time limits run on."""
        assert self._loop is not None
        for call in self._live.values():
            if call.pid == pid and call.clock is not None:
                call.clock.run(self._loop)
        self._admission.release(pid)
        self._pump()

    def limited(self, pid: int) -> None:
        """Hold its calls, and those of its descendants, to the seconds that they have now."""
        for call in list(self._live.values()):
            if call.pid == pid or self.processes.is_below(call.pid, pid):
                self._time_limits.renew(call)

    def reniced(self, pid: int, priority: int) -> None:
        """Order its waiting calls anew."""
        for call in self._live.values():
            if call.pid == pid:
                call.priority = priority
                self._admission.reorder(call)

    # Looking

    def get(self, call_id: str) -> Call | None:
        """A call in flight."""
        return self._live.get(call_id)

    def calls(self) -> list[CallState]:
        """The calls in flight, nested ones too, in order of arrival."""
        now, places = self._clock(), self._admission.positions()
        return [
            CallState(
                call_id=call.call_id,
                pid=call.pid,
                principal=call.principal.name,
                syscall=call.name,
                state=call.state,
                priority=call.priority,
                queue_position=places.get(call),
                age_s=now - call.queued_s,
            )
            for call in self._live.values()
        ]

    def stats(self) -> DispatchStats:
        """Totals and what is going on now."""
        running = sum(call.is_running for call in self._live.values())
        return DispatchStats(
            calls_total=self.books.calls_total,
            calls_failed=self.books.calls_failed,
            queued=len(self._live) - running,
            running=running,
            strays=len(self._strays),
            accepting=not self._closed,
        )

    # For contexts

    def is_on_loop(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return threading.get_ident() == self._loop_thread

    def is_gone(self) -> bool:
        """Whether the loop will answer no more."""
        return self._loop is None or self._loop.is_closed()

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run a function on the loop soon, from any thread; on a closed loop nothing is owed."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(partial(function, *arguments))
        except RuntimeError:
            if not self._loop.is_closed():
                raise
