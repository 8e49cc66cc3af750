"""The built-in syscalls, registered through the same hooks as any plugin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lingos_kernel.builtins.audit import AuditSyscalls
from lingos_kernel.builtins.context import ContextSyscalls
from lingos_kernel.builtins.jobs import JobSyscalls
from lingos_kernel.builtins.llm import LlmSyscalls
from lingos_kernel.builtins.memory import MemSyscalls
from lingos_kernel.builtins.model import ModelSyscalls
from lingos_kernel.builtins.model_keep import ModelKeepSyscalls
from lingos_kernel.builtins.mq import MqSyscalls
from lingos_kernel.builtins.plugin import PluginSyscalls
from lingos_kernel.builtins.proc import ProcSyscalls
from lingos_kernel.builtins.services import Services
from lingos_kernel.builtins.system import SysSyscalls
from lingos_kernel.builtins.thread import ThreadSyscalls
from lingos_kernel.hookspecs import Register, hookimpl
from lingos_kernel.syscalls.spec import ATTRIBUTE

__all__ = ["BUILTINS", "BuiltIn"]


class BuiltIn:
    """A plugin that registers every marked method of an object."""

    def __init__(self, syscalls: object) -> None:
        self._syscalls = syscalls

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Register the methods, in the order in which they are written."""
        for name in vars(type(self._syscalls)):
            method = getattr(self._syscalls, name)
            if inspect.ismethod(method) and hasattr(method, ATTRIBUTE):
                register.add(method)


def _maker(kind: Callable[[Services], object]) -> Callable[[Services], Any]:
    return lambda services: BuiltIn(kind(services))


BUILTINS: Mapping[str, Callable[[Services], Any]] = {
    "llm": _maker(LlmSyscalls),
    "model": _maker(ModelSyscalls),
    "model-keep": _maker(ModelKeepSyscalls),
    "proc": _maker(ProcSyscalls),
    "ctx": _maker(ContextSyscalls),
    "mem": _maker(MemSyscalls),
    "mq": _maker(MqSyscalls),
    "job": _maker(JobSyscalls),
    "thread": _maker(ThreadSyscalls),
    "sys": _maker(SysSyscalls),
    "plugin": _maker(PluginSyscalls),
    "audit": _maker(AuditSyscalls),
}
"""The plugin of each room, by name."""
