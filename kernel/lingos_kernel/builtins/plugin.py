"""`plugin.*`: see what plugins do and cost, turn them on and off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import PluginError
from lingos_kernel.names import did_you_mean
from lingos_kernel.plugin_hooks import HookRun
from lingos_kernel.plugin_records import BUILT_IN, PluginRecord
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.spec import Context, syscall
from lingos_kernel.syscalls.trace import Trace

DAY_S = 86_400.0
TRACE_BOUND = 1024
"""Lines that wait for a slow reader of a trace; then the oldest are dropped, and counted."""
AT_START = ("models", "drivers", "policies", "services")
"""What the kernel takes from its plugins once, when it starts."""
IN_FRONT_ENDS = ("commands", "panes", "loaders")
"""What each front end takes from the plugins when it starts."""


class PluginSyscalls:
    """The plugins of this kernel."""

    def __init__(self, services: Services) -> None:
        self._host = services.plugins
        self._dispatcher = services.dispatcher

    @syscall("plugin.list", capability="sys.plugins", cost="io")
    async def list_all(self) -> list[dict[str, Any]]:
        """List the plugins: state, what each provides, calls and seconds of its hooks, errors.

        `enabled` says whether the next start loads it, `state` how it is now.
        """
        return await asyncio.to_thread(self._rows)

    @syscall("plugin.enable", capability="plugin.manage", cost="io")
    async def enable(self, name: str) -> dict[str, Any]:
        """Load a plugin now, and at each start. `after_restart` names what has to wait for that.

        Args:
            name: an installed plugin.
        """
        await asyncio.to_thread(self._find, name)
        await asyncio.to_thread(self._host.switches.turn, name, on=True)
        record = (await asyncio.to_thread(self._host.load, [name]))[0]
        await self._host.startup()
        return _changed(record, record.provides)

    @syscall("plugin.disable", capability="plugin.manage", cost="io", confirm=True)
    async def disable(self, name: str) -> dict[str, Any]:
        """Turn a plugin off: its hooks and syscalls at once; it is not loaded at later starts.

        Calls of it that run go on. `after_restart` names what stays until the kernel is restarted.

        Args:
            name: an installed plugin.
        """
        record = await asyncio.to_thread(self._find, name)
        await asyncio.to_thread(self._host.switches.turn, name, on=False)
        if record.state != "loaded":
            return _changed(record, {})
        await self._host.end(name)
        after = await asyncio.to_thread(self._host.disable, name)
        return _changed(after, record.provides)

    @syscall("plugin.trace", capability="plugin.manage", cost="io", timeout_s=DAY_S)
    async def trace(self, context: Context, name: str) -> AsyncIterator[dict[str, Any]]:
        """Stream what a plugin does: its hooks, with their seconds, and the calls of its syscalls.

        Goes on until it is cancelled. A reader who is too slow is told how many lines were dropped.

        Args:
            name: a plugin.
        """
        await asyncio.to_thread(self._find, name, built_in=True)
        loop = asyncio.get_running_loop()

        def is_traced(call: Call) -> bool:
            is_own = call.syscall is not None and call.syscall.info.owner == name
            return is_own and call.call_id != context.call_id

        trace = Trace(is_traced, shows_values=False, bound=TRACE_BOUND)

        def hook_ran(run: HookRun) -> None:
            if run.plugin == name:
                loop.call_soon_threadsafe(trace.tell, _hook_line(run))

        books = self._dispatcher.books
        with books.watched(trace), self._host.watched(hook_ran):
            async with aclosing(trace.lines()) as lines:
                async for line in lines:
                    yield line

    def _rows(self) -> list[dict[str, Any]]:
        times = self._host.times()
        rows = []
        for record in self._host.records():
            hooks = [asdict(each) for each in times if each.plugin == record.name]
            is_built_in = record.distribution == BUILT_IN
            rows.append(
                {
                    **asdict(record),
                    "built_in": is_built_in,
                    "enabled": is_built_in or self._host.is_wanted(record.name),
                    "hooks": hooks,
                    "hook_calls": sum(hook["calls"] for hook in hooks),
                    "hook_s": sum(hook["seconds"] for hook in hooks),
                    "hook_errors": sum(hook["errors"] for hook in hooks),
                }
            )
        return rows

    def _find(self, name: str, *, built_in: bool = False) -> PluginRecord:
        """The record of an installed plugin; raises `PluginError`."""
        records = self._host.records()
        record = next((each for each in records if each.name == name), None)
        if record is None or not (record.module or record.distribution):
            installed = [each.name for each in records]
            raise PluginError(
                f"no plugin {name!r} is installed",
                hint=did_you_mean(name, installed, otherwise="`lingos plugins` lists them"),
            )
        if record.distribution == BUILT_IN and not built_in:
            raise PluginError(f"{name} is built in", hint="it cannot be turned on or off")
        return record


def _changed(record: PluginRecord, provides: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    return {
        "name": record.name,
        "state": record.state,
        "error": record.error,
        "after_restart": [kind for kind in AT_START if provides.get(kind)],
        "in_front_ends": [kind for kind in IN_FRONT_ENDS if provides.get(kind)],
    }


def _hook_line(run: HookRun) -> dict[str, Any]:
    return {
        "event": "hook",
        "time_s": time.time(),
        "hook": run.hook,
        "syscall": run.syscall,
        "outcome": "failed" if run.error else "ok",
        "message": run.error,
        "run_s": run.seconds,
    }
