"""Who may do what to a process."""

from __future__ import annotations

from lingos_kernel.errors import InvalidArguments, NotPermitted
from lingos_kernel.processes.process import LEAST_URGENT, MOST_URGENT, Process
from lingos_kernel.security.principal import Principal

ADMIN = "proc.admin"
"""The capability to act on other principals' processes, and to be more urgent than 0."""


def owns(principal: Principal, process: Process) -> bool:
    """Whether the process is the principal's own."""
    theirs = process.principal
    return principal.name == theirs.name and principal.tenant == theirs.tenant


def check_rights(process: Process, by: Principal) -> None:
    """Raise `NotPermitted` unless `by` may act on the process."""
    if not owns(by, process) and not by.may(ADMIN):
        raise NotPermitted(
            f"process {process.pid} belongs to {process.principal.name}, not to {by.name}",
            hint=f"acting on it needs the capability {ADMIN}",
            pid=process.pid,
        )


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
