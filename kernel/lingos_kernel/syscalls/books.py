"""The books on calls: what ended how, how often, at what cost; and the audit log's share of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from lingos_kernel.security.audit_chain import AuditRecord
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.events import Failure
from lingos_kernel.syscalls.rows import FinishedCall, SyscallStats

FINISHED = 512
"""Ended calls that are kept for `finished`."""
MAX_NAME, MAX_NAMES = 128, 64
"""Length and number of argument names that a record keeps."""


class Audit(Protocol):
    """Where the record of each call goes; `security.audit.AuditLog` implements it."""

    def append(self, record: AuditRecord) -> None:
        """Keep a record; returns at once and never raises."""


class CallWatcher(Protocol):
    """Is told of every call; must return at once and never raise."""

    def begun(self, call: Call) -> None:
        """A call was accepted."""

    def ended(self, call: Call) -> None:
        """A call ended."""


class Books:
    """Counts every ended call and keeps the last ones."""

    def __init__(self, audit: Audit | None) -> None:
        self._audit = audit
        self._finished: deque[FinishedCall] = deque(maxlen=FINISHED)
        self._stats: dict[str, SyscallStats] = {}
        self.calls_total = 0
        """Calls that have ended since the start, refused ones too."""
        self.calls_failed = 0
        """Those of them that ended in a `Failure`."""
        self.watchers: list[CallWatcher] = []

    def begin(self, call: Call) -> None:
        """Tell the watchers of an accepted call."""
        for watcher in self.watchers:
            watcher.begun(call)

    def record(self, call: Call) -> None:
        """Enter an ended call."""
        assert call.ended_s is not None
        error = call.outcome.error if isinstance(call.outcome, Failure) else None
        record = FinishedCall(
            call_id=call.call_id,
            parent_id=call.parent.call_id if call.parent else "",
            pid=call.pid,
            principal=call.principal.name,
            caller=call.principal.kind,
            syscall=call.name,
            outcome=str(error["code"]) if error else "ok",
            message=str(error["message"]) if error else "",
            ended_at=time.time(),
            queued_s=call.ended_s - call.queued_s - call.run_s,
            run_s=call.run_s,
        )
        self._finished.append(record)
        self.calls_total += 1
        self.calls_failed += error is not None
        if call.syscall is not None:
            stats = self._stats.setdefault(call.name, SyscallStats())
            stats.calls += 1
            stats.failed += error is not None
            stats.run_s += call.run_s
        if self._audit is not None:
            self._audit.append(_audit_record(call, record))
        for watcher in self.watchers:
            watcher.ended(call)

    def finished(self, limit: int | None = None) -> list[FinishedCall]:
        """The calls that ended last, at most `limit`, the newest at the end."""
        found = list(self._finished)
        return found if limit is None else found[len(found) - min(limit, len(found)) :]

    def syscall_stats(self) -> dict[str, SyscallStats]:
        """How often each syscall was called and what that cost."""
        return dict(self._stats)

    def timings(self) -> list[tuple[int, float]]:
        """(calls, mean seconds) of each syscall called so far: the sum E of the design."""
        return [(s.calls, s.run_s / s.calls) for s in self._stats.values()]

    @contextmanager
    def watched(self, watcher: CallWatcher) -> Iterator[None]:
        """Tell the watcher of every call while the block runs."""
        self.watchers.append(watcher)
        try:
            yield
        finally:
            self.watchers.remove(watcher)


def _clean(name: object) -> str:
    """A name fit for a record: Unicode text of bounded length."""
    return str(name)[:MAX_NAME].encode("utf-8", "backslashreplace").decode()


def _audit_record(call: Call, record: FinishedCall) -> AuditRecord:
    return AuditRecord(
        time_s=record.ended_at,
        principal=record.principal,
        tenant=call.principal.tenant,
        caller=record.caller,
        pid=record.pid,
        call_id=record.call_id,
        parent_id=record.parent_id,
        syscall=_clean(record.syscall),
        outcome=record.outcome,
        run_s=round(record.run_s, 6),
        arguments=tuple(_clean(name) for name in call.argument_names[:MAX_NAMES]),
    )
