"""The process table."""

from __future__ import annotations

from lingos_kernel.processes.process import (
    Limits,
    OnParentEnd,
    Process,
    ProcessKind,
    Signal,
    Used,
)
from lingos_kernel.processes.table import ProcessObserver, ProcessTable

__all__ = [
    "Limits",
    "OnParentEnd",
    "Process",
    "ProcessKind",
    "ProcessObserver",
    "ProcessTable",
    "Signal",
    "Used",
]
