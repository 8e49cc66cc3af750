"""The process table: who is there, how they are related, and what may be done to them.

The table decides and keeps the books; what a decision means for calls and engine requests is
done by the observers (the dispatcher, the kernel). Used from the kernel's loop alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from lingos_kernel.errors import NotPermitted, UnknownProcess
from lingos_kernel.processes import books
from lingos_kernel.processes.process import (
    NO_LIMITS,
    Limits,
    OnParentEnd,
    Process,
    ProcessKind,
    Signal,
)
from lingos_kernel.processes.rights import ADMIN, check_priority, check_rights, owns
from lingos_kernel.security.principal import Principal

log = logging.getLogger(__name__)

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
        self._on_limit: list[Callable[[int], object]] = []
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

    def on_limit(self, heed: Callable[[int], object]) -> None:
        """Call `heed` with the pid of each process whose limits have changed."""
        self._on_limit.append(heed)

    # Looking

    def get(self, pid: int) -> Process:
        """The live process; raises `UnknownProcess`, which says so when it has ended."""
        process = self.find(pid)
        if process.ended_s is not None:
            raise _unknown(pid, f"has ended ({process.ended_why})")
        return process

    def is_live(self, pid: int) -> bool:
        """Whether there is such a process, and it has not ended."""
        return pid in self._live

    def find(self, pid: int) -> Process:
        """The process, live or among the last that ended; raises `UnknownProcess`."""
        process = self._live.get(pid)
        if process is None:
            process = next((p for p in reversed(self._ended) if p.pid == pid), None)
        if process is None:
            raise _unknown(pid, "does not exist")
        return process

    def owned(self, pid: int, by: Principal) -> Process:
        """The live process, when `by` may act on it; else raises `NotPermitted`."""
        process = self.get(pid)
        check_rights(process, by)
        return process

    def processes(self, by: Principal | None = None, *, ended: bool = False) -> list[Process]:
        """Processes by pid; those that `by` may act on, or all; with the ended ones by choice."""
        found = [*(self._ended if ended else ()), *self._live.values()]
        if by is not None and not by.may(ADMIN):
            found = [p for p in found if owns(by, p)]
        return sorted(found, key=lambda p: p.pid)

    @property
    def last_pid(self) -> int:
        """The highest pid that was given out."""
        return self._last_pid

    def children(self, pid: int) -> list[Process]:
        """The live children of a process."""
        return [p for p in self._live.values() if p.parent == pid]

    def program(self, pid: int) -> int:
        """The program that a process is part of: the topmost agent or job above it, or itself.

        Where there is none, the topmost ancestor below the kernel.
        """
        line = list(self._line(pid))[::-1]
        agents = [process.pid for process in line if process.kind in ("agent", "job")]
        return next(iter([*agents, *(process.pid for process in line)]), pid)

    def is_below(self, pid: int, ancestor: int) -> bool:
        """Whether a live process is a descendant of another."""
        if ancestor == KERNEL_PID:
            return pid != KERNEL_PID
        return pid != ancestor and any(p.pid == ancestor for p in self._line(pid))

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
        on_parent_end: OnParentEnd = "reparent",
        is_durable: bool = False,
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
            self._last_pid,
            parent,
            principal,
            kind,
            command,
            model,
            priority,
            limits,
            self._clock(),
            on_parent_end=on_parent_end,
            is_durable=is_durable,
        )
        self._live[process.pid] = process
        return process

    def restore(self, processes: Iterable[Process], *, last_pid: int) -> None:
        """Take in processes of an earlier kernel, under their own pids; new pids come after.

        Before anything was opened. Stopped ones are held. Those whose parent is not among them
        end, or go to the kernel, as they asked.
        """
        assert self._last_pid == KERNEL_PID, "processes are restored before any is opened"
        for process in sorted(processes, key=lambda p: p.pid):  # a parent's pid is the lower one
            if process.parent not in self._live:
                if process.on_parent_end == "end":
                    continue
                process.parent = KERNEL_PID
            self._live[process.pid] = process
            if process.stopped:
                self._tell("stopped", process.pid)
        self._last_pid = max(last_pid, *self._live)

    def close(self, pid: int, why: str = "closed") -> None:
        """End a process: its calls are cancelled, its children end too or move up, as they asked.

        A process that has ended already is left as it is; pid 1 stays.
        """
        if pid == KERNEL_PID or pid not in self._live:
            return
        heir = self._live[pid].parent
        ending = [(self._live.pop(pid), why)]
        for process, _ in ending:  # grows as it goes: a tree of any depth
            for child in self.children(process.pid):
                if child.on_parent_end == "end":
                    reason = f"its parent {process.pid} has ended"
                    ending.append((self._live.pop(child.pid), reason))
                else:
                    child.parent = heir
        for process, reason in ending:
            process.ended_s, process.ended_why = self._clock(), reason
            if process.kind != "call":  # the ring of finished calls tells of those
                self._ended.append(process)
        for process, reason in ending:
            if process.calls:
                self._tell(
                    "cancel_calls", process.pid, f"process {process.pid} has ended ({reason})"
                )
            for let_go in self._on_end:
                _isolated(let_go, process.pid)

    # Acting

    def nice(self, pid: int, priority: int, *, by: Principal) -> int:
        """Change the priority; returns the one before. Below 0 needs `proc.admin`."""
        process = self.owned(pid, by)
        _not_the_kernel(pid)
        check_priority(priority, by=by, now=process.priority)
        before, process.priority = process.priority, priority
        if before != priority:
            self._tell("reniced", pid, priority)
        return before

    def signal(self, pid: int, signal: Signal, *, by: Principal) -> None:
        """Send a signal; raises `UnknownProcess`, `NotPermitted`."""
        process = self.owned(pid, by)
        _not_the_kernel(pid)
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
        for tell in self._on_limit:
            _isolated(tell, pid)

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
        books.charge(
            self._line(pid), tokens=tokens, seconds=seconds, tool_calls=tool_calls, pages=pages
        )

    def holding(self, pid: int, *, pages: int) -> AbstractContextManager[None]:
        """Count KV pages for the process and its ancestors while the block runs."""
        return books.holding(self._line(pid), pages)

    def check_limits(self, pid: int, *, tool_calls: bool = False) -> None:
        """Raise `QuotaExceeded` when a limit of the process or an ancestor is used up.

        The limits of tool calls and pages bind only who wants more of them: `tool_calls` says
        that a tool call is wanted; generation keeps to the pages.
        """
        books.check(self._line(pid), tool_calls=tool_calls)

    def remaining(self, pid: int) -> Limits:
        """The least that the process and its ancestors have left of each limit."""
        return books.remaining(self._line(pid))

    def tightest(self, pid: int, limit: str) -> Process:
        """Which of the live process and its ancestors has the least left of a limit."""
        return books.tightest(self._line(pid), limit)

    def _line(self, pid: int) -> Iterator[Process]:
        """The live process and its live ancestors, below the kernel."""
        process = self._live.get(pid)
        while process is not None and process.pid != KERNEL_PID:
            yield process
            process = self._live.get(process.parent)

    def _tell(self, what: str, *arguments: object) -> None:
        for observer in self._observers:
            _isolated(getattr(observer, what), *arguments)


def _unknown(pid: int, what: str) -> UnknownProcess:
    return UnknownProcess(f"process {pid} {what}", hint="`lingos ps` lists the processes", pid=pid)


def _isolated(act: Callable[..., object], *arguments: object) -> None:
    """Carry out what was decided; one that cannot must not keep the others from it."""
    try:
        act(*arguments)
    except Exception:
        log.exception("%r failed", act)


def _not_the_kernel(pid: int) -> None:
    if pid == KERNEL_PID:
        raise NotPermitted("process 1 is the kernel itself", hint="`lingos kernel stop` stops it")
