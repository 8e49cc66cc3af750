"""The plugin host: loads plugins, hands out what they register, calls their hooks.

Whatever one plugin does, the others and the kernel go on: an import that fails or hangs, a hook
that raises, a name that is taken are kept in the plugin's record, which names it.
"""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import pluggy

from lingos_kernel import hookspecs
from lingos_kernel.config import PluginsConfig
from lingos_kernel.errors import ConfigError, LingOSError, PluginError, PluginFailed
from lingos_kernel.names import did_you_mean
from lingos_kernel.plugin_hooks import Hook, HookCaller, HookTime, HookWatcher
from lingos_kernel.plugin_limits import TimedOutError, run_limited
from lingos_kernel.plugin_records import (
    BUILT_IN,
    Candidate,
    PluginRecord,
    choose,
    find_plugins,
    import_plugin,
)
from lingos_kernel.plugin_register import Additions
from lingos_kernel.plugin_switches import PluginSwitches
from lingos_kernel.registry import Sink

log = logging.getLogger(__name__)

KINDS = (
    "syscalls", "models", "drivers", "policies", "commands", "panes", "loaders", "services"
)  # fmt: skip
"""What plugins can register: `lingos_register_<kind>`."""
_MAY_BE_ASYNC = ("lingos_startup", "lingos_shutdown")


class PluginHost:
    """The plugins of one kernel or front end. May be used from any thread."""

    def __init__(
        self,
        settings: PluginsConfig,
        *,
        switches: PluginSwitches | None = None,
        find: Callable[[], list[Candidate]] = find_plugins,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is looked for or imported yet. `switches`: what a person turned on or off."""
        self._settings = settings
        self.switches = switches or PluginSwitches()
        self._find = find
        self._caller = HookCaller(
            on_error=self._note_error,
            on_hang=self._turn_off,
            limit_s=settings.import_timeout_s,
            call_limit_s=settings.hook_timeout_s,
            clock=clock,
        )
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._sinks: dict[str, Sink] = {}
        self._records: dict[tuple[str, str], PluginRecord] = {}
        self._started: set[str] = set()
        self._kernel: Any = None
        self._change = threading.RLock()
        self._before: list[Hook] = []
        self._after: list[Hook] = []
        self.watches_before = False
        """Whether any plugin implements `lingos_before_syscall`."""
        self.watches_after = False
        """Whether any plugin implements `lingos_after_syscall`."""

    # Looking

    def available(self) -> list[PluginRecord]:
        """Every installed plugin, as loaded or not; imports none."""
        with self._change:
            known, found = dict(self._records), self._discover()
            wanted = self._wanted(found)
            for candidate in found:
                key = (candidate.name, candidate.distribution)
                known.setdefault(key, self._record_unloaded(candidate, wanted))
        return sorted(known.values(), key=lambda r: (r.distribution != BUILT_IN, r.name))

    def records(self) -> list[PluginRecord]:
        """As `available`."""
        return self.available()

    def is_wanted(self, name: str) -> bool:
        """Whether an installed plugin is loaded at the next start."""
        wanted = self._wanted(self._discover())
        return wanted is None or name in wanted

    def times(self) -> list[HookTime]:
        """What each hook of each plugin has cost, the dearest first."""
        return self._caller.times()

    def watched(self, watcher: HookWatcher) -> AbstractContextManager[None]:
        """Tell the watcher of each call of a hook, on whatever thread, while the block runs."""
        return self._caller.watched(watcher)

    # Registering

    def attach(self, kind: str, sink: Sink) -> None:
        """Give `sink` what plugins register of a kind (one of `KINDS`), now and later.

        Built-in ones come first, so that no other takes a name from them: attach a sink when they
        are registered. Hooks of kinds without a sink are not called.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not one of {', '.join(KINDS)}")
        with self._change:
            self._sinks[kind] = sink
            names = [name for name, _ in self._manager.list_name_plugin()]
            for name in sorted(names, key=lambda name: (name, BUILT_IN) not in self._records):
                self._guard(name, partial(self._collect, name, (kind,)))

    def register(self, plugin: object, name: str) -> PluginRecord:
        """Take in the kernel's own plugin; its faults are bugs here, and are raised."""
        with self._change:
            module = plugin if inspect.ismodule(plugin) else type(plugin)
            where = module.__name__ if inspect.ismodule(plugin) else module.__module__
            self._records[name, BUILT_IN] = PluginRecord(name, BUILT_IN, "", where, "loaded")
            self._admit(plugin, name)
            return self._records[name, BUILT_IN]

    def load(self, names: Iterable[str] | None = None) -> list[PluginRecord]:
        """Import and take in installed plugins: the named ones, or those of the settings.

        Never raises for a plugin: see the records that it returns. Blocks while they import.
        """
        with self._change:
            found = self._discover()
            wanted = self._wanted(found) if names is None else tuple(names)
            chosen, left, missing = choose(found, wanted)
            if names is None:
                for candidate in left:
                    self._note(candidate, candidate.record("disabled"))
            for candidate in chosen:
                self._load_one(candidate)
            for name in missing:
                self._note_missing(name, found)
            keys = [(c.name, c.distribution) for c in chosen] + [(name, "") for name in missing]
            return [self._records[key] for key in keys]

    def disable(self, name: str) -> PluginRecord:
        """Turn a loaded plugin off: what it registered is gone, its hooks are called no more.

        Calls that run go on. Its module stays imported. Raises `PluginError` for an unknown or
        built-in one.
        """
        with self._change:
            key = next((k for k, r in self._records.items() if k[0] == name), None)
            record = self._records[key] if key else None
            if key is None or record is None or record.state != "loaded":
                loaded = [n for n, _ in self._manager.list_name_plugin()]
                raise PluginError(f"no plugin {name!r} is loaded", hint=did_you_mean(name, loaded))
            if record.distribution == BUILT_IN:
                raise PluginError(f"{name} is built in", hint="it cannot be turned off")
            self._remove(name)
            self._records[key] = replace(record, state="disabled", provides={})
            return self._records[key]

    # Hooks while running

    async def startup(self, kernel: Any = None) -> None:
        """Call `lingos_startup` of each plugin that has not been started.

        The first call names the kernel; later ones (a plugin has been turned on) need not.
        """
        self._kernel = kernel or self._kernel
        for name, _ in self._manager.list_name_plugin():
            if name not in self._started:
                self._started.add(name)
                await self._caller.run(self._hooks("lingos_startup", name), kernel=self._kernel)

    async def shutdown(self, kernel: Any) -> None:
        """Call `lingos_shutdown` of each plugin that was started, the last one first."""
        self._kernel = kernel
        for name, _ in reversed(self._manager.list_name_plugin()):
            await self.end(name)

    async def end(self, name: str) -> None:
        """Call `lingos_shutdown` of one plugin that was started."""
        if name in self._started:
            self._started.discard(name)
            await self._caller.run(self._hooks("lingos_shutdown", name), kernel=self._kernel)

    def before_syscall(self, info: Any, context: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments after each plugin has seen them; raises the refusal of a plugin."""
        return self._caller.replace_arguments(self._before, info, context, arguments)

    def after_syscall(self, info: Any, context: Any, outcome: Any) -> None:
        """Tell each plugin how a call ended; never raises."""
        self._caller.tell(self._after, info=info, context=context, outcome=outcome)

    # Inside

    def _discover(self) -> list[Candidate]:
        try:
            return self._find()
        except Exception:  # a broken package elsewhere must not stop the kernel
            log.exception("installed plugins cannot be listed")
            return []

    def _wanted(self, found: list[Candidate]) -> tuple[str, ...] | None:
        """What the settings and the switches say; None: all."""
        try:
            return self.switches.wanted(self._settings.load, (c.name for c in found))
        except ConfigError as error:  # a broken file must not stop the kernel
            log.error("%s", error)
            return self._settings.load

    def _record_unloaded(
        self, candidate: Candidate, wanted: tuple[str, ...] | None
    ) -> PluginRecord:
        is_wanted = wanted is None or candidate.name in wanted
        return candidate.record("available" if is_wanted else "disabled")

    def _load_one(self, candidate: Candidate) -> None:
        key = (candidate.name, candidate.distribution)
        known = self._records.get(key)
        if known is not None and known.state == "loaded":
            return
        if self._manager.get_plugin(candidate.name) is not None:
            other = next(k[1] for k, r in self._records.items() if k[0] == candidate.name)
            error = (
                f"plugin {candidate.name} of {candidate.distribution} is refused:"
                f" {other} has that name"
            )
            self._note(candidate, candidate.record("failed", error=error))
            return
        try:
            plugin, import_s = import_plugin(candidate, limit_s=self._settings.import_timeout_s)
        except TimedOutError:
            error = (
                f"plugin {candidate.name} did not import in {self._settings.import_timeout_s:g} s"
            )
            self._note(candidate, candidate.record("timed_out", error=error))
        except PluginFailed as failed:
            log.warning("%s", failed, exc_info=failed.__cause__)
            self._note(candidate, candidate.record("failed", error=str(failed)))
        else:
            slow = import_s > self._settings.slow_s
            self._records[key] = candidate.record("loaded", import_s=import_s, slow=slow)
            self._guard(candidate.name, partial(self._admit, plugin, candidate.name))

    def _note(self, candidate: Candidate, record: PluginRecord) -> None:
        if record.error:
            log.warning("%s", record.error)
        self._records[candidate.name, candidate.distribution] = record

    def _note_missing(self, name: str, found: list[Candidate]) -> None:
        names = [c.name for c in found]
        hint = did_you_mean(name, names, otherwise=f"installed: {', '.join(names) or 'none'}")
        error = f"no installed plugin is named {name} ({hint})"
        log.warning("%s", error)
        self._records[name, ""] = PluginRecord(name, "", "", "", "failed", error=error)

    def _guard(self, name: str, act: Callable[[], None]) -> None:
        """Run something of a plugin; when it raises, the plugin is out, and its record says why."""
        try:
            act()
        except TimedOutError as error:
            log.warning("plugin %s is turned off: %s", name, error)
            self._remove(name)
            text = f"plugin {name}: {error}"
            self._change_record(name, state="timed_out", error=text, provides={})
        except Exception as error:
            log.warning("plugin %s is turned off", name, exc_info=error)
            self._remove(name)
            text = (
                str(error) if isinstance(error, LingOSError) else f"{type(error).__name__}: {error}"
            )
            self._change_record(name, state="failed", error=f"plugin {name}: {text}", provides={})

    def _admit(self, plugin: Any, name: str) -> None:
        """Take an imported plugin in; raises when it breaks the contract of a hook."""
        if inspect.isclass(plugin):
            make, limit_s = plugin, self._settings.import_timeout_s
            plugin = run_limited(make, name=f"making {name}", limit_s=limit_s).result()
        self._manager.register(plugin, name)
        problem = self._find_problem(plugin)
        if problem:
            self._manager.unregister(plugin)
            raise PluginFailed(problem)
        self._collect(name, KINDS)
        self._refresh()

    def _find_problem(self, plugin: Any) -> str:
        """How a plugin's hooks break the contract; empty when they do not."""
        known = [name for name in dir(hookspecs) if name.startswith("lingos_")]
        for caller in self._manager.get_hookcallers(plugin) or ():
            if not caller.has_spec():
                hint = did_you_mean(caller.name, known, otherwise="see `lingos_kernel.hookspecs`")
                return f"there is no hook {caller.name} ({hint})"
            mine = [impl for impl in caller.get_hookimpls() if impl.plugin is plugin]
            if any(impl.wrapper or impl.hookwrapper for impl in mine):
                return f"{caller.name}: hook wrappers are not supported"
            is_async = any(inspect.iscoroutinefunction(impl.function) for impl in mine)
            if is_async and caller.name not in _MAY_BE_ASYNC:
                return f"{caller.name} must be a plain function, not async"
        return ""

    def _collect(self, name: str, kinds: Iterable[str]) -> None:
        """Hand what a plugin registers to the sinks; refused items are noted in its record."""
        for kind in kinds:
            if (sink := self._sinks.get(kind)) is None:
                continue
            for hook in self._hooks(f"lingos_register_{kind}", name):
                register = Additions()
                self._run_register_hook(hook, register)
                register.hand_over(sink, name)
                self._note_registered(name, kind, register)

    def _run_register_hook(self, hook: Hook, register: Additions) -> None:
        """Let a plugin fill `register`, within the time limit unless it is built in."""
        act = partial(hook.function, *[register for _ in hook.takes])
        record = self._record(hook.plugin)
        assert record is not None
        if record.distribution == BUILT_IN:
            act()
            return
        outcome = run_limited(act, name=hook.name, limit_s=self._settings.import_timeout_s)
        took_s = record.import_s + outcome.took_s
        self._change_record(hook.plugin, import_s=took_s, slow=took_s > self._settings.slow_s)
        outcome.result()

    def _note_registered(self, name: str, kind: str, register: Additions) -> None:
        record = self._record(name)
        assert record is not None
        if register.problems and record.distribution == BUILT_IN:
            raise PluginFailed("; ".join(register.problems))
        for problem in register.problems:
            log.warning("%s", problem)
        self._change_record(
            name,
            provides={**record.provides, kind: tuple(register.names)},
            error="; ".join(text for text in (record.error, *register.problems) if text),
        )

    def _remove(self, name: str) -> None:
        if self._manager.get_plugin(name) is not None:
            self._manager.unregister(name=name)
        for sink in self._sinks.values():
            sink.remove_owner(name)
        self._refresh()

    def _refresh(self) -> None:
        self._before = self._hooks("lingos_before_syscall")
        self._after = self._hooks("lingos_after_syscall")
        self.watches_before, self.watches_after = bool(self._before), bool(self._after)

    def _hooks(self, name: str, plugin: str | None = None) -> list[Hook]:
        """The implementations of a hook, of all plugins (in pluggy's order) or of one."""
        caller = getattr(self._manager.hook, name)
        return [
            Hook(impl.plugin_name, name, impl.function, impl.argnames)
            for impl in reversed(caller.get_hookimpls())
            if plugin in (None, impl.plugin_name)
        ]

    def _record(self, name: str) -> PluginRecord | None:
        """The record of a loaded plugin."""
        return next(
            (r for r in self._records.values() if r.name == name and r.state == "loaded"), None
        )

    def _change_record(self, name: str, **facts: Any) -> None:
        if (record := self._record(name)) is not None:
            self._records[record.name, record.distribution] = replace(record, **facts)

    def _turn_off(self, name: str, text: str) -> None:
        """A plugin hangs in a hook around a call: the calls to come are to go on without it."""
        log.error("plugin %s is turned off: %s", name, text)
        with self._change:
            self._remove(name)
            facts = {"error": f"plugin {name}: {text}", "provides": {}}
            self._change_record(name, state="timed_out", **facts)

    def _note_error(self, plugin: str, text: str) -> None:
        with self._change:
            self._change_record(plugin, error=f"plugin {plugin}: {text}")
