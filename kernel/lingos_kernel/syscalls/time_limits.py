"""How long a call may take: its own time limit, and the seconds that its processes have left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from lingos_kernel.errors import CallTimeout, LingOSError, QuotaExceeded
from lingos_kernel.processes.table import ProcessTable
from lingos_kernel.syscalls.call import Call, CallClock


class TimeLimits:
    """Ends calls that take longer than they, or their processes, may."""

    def __init__(
        self,
        processes: ProcessTable,
        *,
        clock: Callable[[], float],
        end: Callable[[Call, LingOSError], None],
    ) -> None:
        """`clock` gives monotonic seconds; `end` ends a call in an error."""
        self._processes = processes
        self._clock = clock
        self._end = end

    def begin(self, call: Call, limit_s: float, loop: asyncio.AbstractEventLoop) -> None:
        """Let the time of a call run; `limit_s` is its own limit."""
        assert call.process is not None
        call.limit_s = limit_s
        may_take_s = self._may_take_s(call)
        call.deadline_s = call.queued_s + may_take_s
        if call.parent is not None and call.deadline_s >= call.parent.deadline_s:
            call.deadline_s = call.parent.deadline_s  # the parent's end ends this one
            return
        call.clock = CallClock(may_take_s, partial(self._expire, call))
        if not call.process.stopped:
            call.clock.run(loop)

    def renew(self, call: Call) -> None:
        """Hold a call from outside to the seconds that its processes have left now."""
        if call.clock is not None and call.parent is None:
            may_take_s = self._may_take_s(call)
            call.deadline_s = call.queued_s + may_take_s
            call.clock.set_limit(may_take_s)

    def _may_take_s(self, call: Call) -> float:
        left_s = self._processes.remaining(call.pid).seconds
        return call.limit_s if left_s is None else min(call.limit_s, left_s)

    def _expire(self, call: Call) -> None:
        is_quota = self._may_take_s(call) < call.limit_s
        self._end(call, self._quota_exceeded(call) if is_quota else self._timeout(call))

    def _quota_exceeded(self, call: Call) -> LingOSError:
        process = self._processes.tightest(call.pid, "seconds")
        return QuotaExceeded(
            f"process {process.pid} ({process.command}) has used up its seconds during {call.name}",
            hint="raise its limit, or open another process",
            call_id=call.call_id,
        )

    def _timeout(self, call: Call) -> LingOSError:
        now = self._clock()
        waited_s = (now if call.started_s is None else call.started_s) - call.queued_s
        return CallTimeout(
            f"{call.name} took longer than {call.limit_s:g} s ({waited_s:.1f} s of it waiting)",
            hint="give it more time, or less to do",
            call_id=call.call_id,
        )
