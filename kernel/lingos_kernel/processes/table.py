"""The process table: who is there, how they are related, and what may be done to them.

The table decides and keeps the books; what a decision means for calls and engine requests is
done by the observers (the dispatcher, the kernel). Used from the kernel's loop alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from lingos_kernel.errors import InvalidArguments, NotPermitted, QuotaExceeded, UnknownProcess
from lingos_kernel.processes.process import (
    LEAST_URGENT,
    MOST_URGENT,
    NO_LIMITS,
    Limits,
    Process,
    ProcessKind,
    Signal,
)
from lingos_kernel.security.principal import Principal

log = logging.getLogger(__name__)

ADMIN = "proc.admin"
"""The capability to act on other principals' processes, and to be more urgent than 0."""
KERNEL_PID = 1
HISTORY = 256


class ProcessObserver(Protocol):
    """Carries out what the table decides."""

    def cancel_calls(self, pid: int, reason: str) -> None:
        """End the calls of a process as cancelled."""

    def stopped(self, pid: int) -> None:
        """Hold its queued calls and engine requests."""

    def continued(self, pid: int) -> None:
        """Let them go on."""

    def reniced(self, pid: int, priority: int) -> None:
        """Order its queued calls and engine requests anew."""


class ProcessTable:
    """All processes by pid; pid 1 is the kernel itself."""

    def __init__(self, kernel: Principal, *, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self._last_pid = KERNEL_PID
        self._observers: list[ProcessObserver] = []
        self._on_end: list[Callable[[int], object]] = []
        self._ended: deque[Process] = deque(maxlen=HISTORY)
        self._live = {
            KERNEL_PID: Process(
                KERNEL_PID, 0, kernel, "kernel", "kernel", "", 0, NO_LIMITS, clock()
            )
        }

    def observe(self, observer: ProcessObserver) -> None:
        """Tell the observer what is decided from now on."""
        self._observers.append(observer)

    def on_end(self, let_go: Callable[[int], object]) -> None:
        """Call `let_go` with the pid of each process that ends, once its calls are cancelled."""
        self._on_end.append(let_go)

    # Looking

    def get(self, pid: int) -> Process:
        """The live process; raises `UnknownProcess`, which says so when it has ended."""
        process = self._live.get(pid)
        if process is not None:
            return process
        ended = next((p for p in reversed(self._ended) if p.pid == pid), None)
        what = f"has ended ({ended.ended_why})" if ended else "does not exist"
        raise UnknownProcess(
            f"process {pid} {what}", hint="`lingos ps` lists the processes", pid=pid
        )

    def owned(self, pid: int, by: Principal) -> Process:
        """The live process, when `by` may act on it; else raises `NotPermitted`."""
        process = self.get(pid)
        if not _owns(by, process) and not by.may(ADMIN):
            raise NotPermitted(
                f"process {pid} belongs to {process.principal.name}, not to {by.name}",
                hint=f"acting on it needs the capability {ADMIN}",
                pid=pid,
            )
        return process

    def processes(self, by: Principal | None = None, *, ended: bool = False) -> list[Process]:
        """Processes by pid; those that `by` may act on, or all; with the ended ones by choice."""
        found = [*(self._ended if ended else ()), *self._live.values()]
        if by is not None and not by.may(ADMIN):
            found = [p for p in found if _owns(by, p)]
        return sorted(found, key=lambda p: p.pid)

    def children(self, pid: int) -> list[Process]:
        """The live children of a process."""
        return [p for p in self._live.values() if p.parent == pid]

    def tree(self) -> list[tuple[int, Process]]:
        """Every live process with its depth, parents before children, in order of pids."""
        by_parent: dict[int, list[Process]] = {}
        for process in self._live.values():
            by_parent.setdefault(process.parent, []).append(process)

        def walk(pid: int, depth: int) -> Iterator[tuple[int, Process]]:
            for process in by_parent.get(pid, ()):
                yield depth, process
                yield from walk(process.pid, depth + 1)

        return list(walk(0, 0))

    # Opening and ending

    def open(
        self,
        principal: Principal,
        command: str,
        *,
        kind: ProcessKind = "session",
        parent: int = KERNEL_PID,
        priority: int | None = None,
        model: str = "",
        limits: Limits = NO_LIMITS,
    ) -> Process:
        """A new process. Priority defaults to the parent's; the parent's limits hold for it too.

        Raises `UnknownProcess`, `NotPermitted` (another's parent, or too urgent).
        """
        above = self.get(parent) if parent == KERNEL_PID else self.owned(parent, principal)
        if priority is None:
            priority = above.priority
        else:
            check_priority(priority, by=principal, now=above.priority)
        self._last_pid += 1
        process = Process(
            self._last_pid, parent, principal, kind, command, model, priority, limits, self._clock()
        )
        self._live[process.pid] = process
        return process

    def close(self, pid: int, why: str = "closed") -> None:
        """End a process: its calls are cancelled, its children go to the kernel.

        A process that has ended already is left as it is; pid 1 stays.
        """
        process = self._live.get(pid)
        if process is None or pid == KERNEL_PID:
            return
        process.ended_s = self._clock()
        process.ended_why = why
        del self._live[pid]
        if process.kind != "call":  # the ring of finished calls tells of those
            self._ended.append(process)
        for child in self.children(pid):
            child.parent = process.parent if process.parent in self._live else KERNEL_PID
        if process.calls:
            self._tell("cancel_calls", pid, f"process {pid} has ended ({why})")
        for let_go in self._on_end:
            _isolated(let_go, pid)

    # Acting

    def nice(self, pid: int, priority: int, *, by: Principal) -> int:
        """Change the priority; returns the one before. Below 0 needs `proc.admin`."""
        process = self.owned(pid, by)
        check_priority(priority, by=by, now=process.priority)
        before, process.priority = process.priority, priority
        if before != priority:
            self._tell("reniced", pid, priority)
        return before

    def signal(self, pid: int, signal: Signal, *, by: Principal) -> None:
        """Send a signal; raises `UnknownProcess`, `NotPermitted`."""
        process = self.owned(pid, by)
        if pid == KERNEL_PID:
            raise NotPermitted(
                "process 1 is the kernel itself", hint="`lingos kernel stop` stops it"
            )
        if signal is Signal.STOP and not process.stopped:
            process.stopped = True
            self._tell("stopped", pid)
        elif signal is Signal.CONT and process.stopped:
            process.stopped = False
            self._tell("continued", pid)
        elif signal is Signal.TERM:
            self._tell("cancel_calls", pid, f"process {pid} got TERM from {by.name}")
        elif signal is Signal.KILL:
            self.close(pid, f"killed by {by.name}")

    def limit(self, pid: int, limits: Limits, *, by: Principal) -> None:
        """Set the limits of a process; raises `UnknownProcess`, `NotPermitted`."""
        self.owned(pid, by).limits = limits

    # Books

    def charge(
        self,
        pid: int,
        *,
        tokens: int = 0,
        seconds: float = 0.0,
        tool_calls: int = 0,
        pages: int = 0,
    ) -> None:
        """Add to what a process and its ancestors used (`pages` may be negative: given back).

        Never raises; ended processes are charged no more.
        """
        for process in self._line(pid):
            used = process.used
            used.tokens += tokens
            used.seconds += seconds
            used.tool_calls += tool_calls
            used.pages += pages

    def check_limits(self, pid: int, *, tool_calls: bool = False) -> None:
        """Raise `QuotaExceeded` when a limit of the process or an ancestor is used up.

        The limits of tool calls and pages bind only who wants more of them: `tool_calls` says
        that a tool call is wanted; the engine keeps to the pages.
        """
        for process in self._line(pid):
            if what := process.used_up(tool_calls=tool_calls):
                raise QuotaExceeded(
                    f"process {process.pid} ({process.command}) has used {what}",
                    hint="raise its limit, or open another process",
                    pid=process.pid,
                )

    def remaining(self, pid: int) -> Limits:
        """The least that the process and its ancestors have left of each limit."""
        lefts = [p.remaining() for p in self._line(pid) if p.limits is not NO_LIMITS]
        if not lefts:
            return NO_LIMITS
        least: dict[str, Any] = {
            name: min((v for left in lefts if (v := getattr(left, name)) is not None), default=None)
            for name in Limits.__slots__
        }
        return Limits(**least)

    def _line(self, pid: int) -> Iterator[Process]:
        """The live process and its live ancestors, below the kernel."""
        process = self._live.get(pid)
        while process is not None and process.pid != KERNEL_PID:
            yield process
            process = self._live.get(process.parent)

    def _tell(self, what: str, *arguments: object) -> None:
        for observer in self._observers:
            _isolated(getattr(observer, what), *arguments)


def _isolated(act: Callable[..., object], *arguments: object) -> None:
    """Carry out what was decided; one that cannot must not keep the others from it."""
    try:
        act(*arguments)
    except Exception:
        log.exception("%r failed", act)


def _owns(principal: Principal, process: Process) -> bool:
    theirs = process.principal
    return principal.name == theirs.name and principal.tenant == theirs.tenant


def check_priority(priority: int, *, by: Principal, now: int) -> None:
    """Raise unless `by` may go from priority `now` to this one: below 0 takes `proc.admin`."""
    if not MOST_URGENT <= priority <= LEAST_URGENT:
        raise InvalidArguments(
            f"priority {priority} is out of range",
            hint=f"use {MOST_URGENT} (most urgent) to {LEAST_URGENT}",
        )
    if priority < min(now, 0) and not by.may(ADMIN):
        raise NotPermitted(
            f"priority {priority} is more urgent than {by.name} may be",
            hint=f"use 0 to {LEAST_URGENT}; below 0 needs the capability {ADMIN}",
        )
