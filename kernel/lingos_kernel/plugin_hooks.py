"""Calling plugins' hooks one by one: timed, isolated, told by name."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from lingos_kernel.errors import LingOSError, PluginFailed
from lingos_kernel.plugin_limits import LimitedThread, TimedOutError, run_limited

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """One plugin's implementation of a hook."""

    plugin: str
    name: str
    function: Callable[..., Any]
    takes: tuple[str, ...]
    """The names of the arguments that it wants."""


@dataclass(frozen=True, slots=True)
class HookTime:
    """What one hook of one plugin has cost so far."""

    plugin: str
    hook: str
    calls: int
    seconds: float
    errors: int


@dataclass(frozen=True, slots=True)
class HookRun:
    """One call of a hook."""

    plugin: str
    hook: str
    syscall: str
    """The call around which it was; empty for startup and shutdown."""
    seconds: float
    error: str


HookWatcher = Callable[[HookRun], None]


@dataclass(slots=True)
class _Tally:
    calls: int = 0
    seconds: float = 0.0
    errors: int = 0


class HookCaller:
    """Calls hooks and keeps account; what one raises stops no other."""

    def __init__(
        self,
        *,
        on_error: Callable[[str, str], None],
        on_hang: Callable[[str, str], None],
        limit_s: float,
        call_limit_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`on_error(plugin, text)` is told of each failure, `on_hang` of a hook around a call that
        did not end within `call_limit_s`; `limit_s` bounds those of `run`.
        """
        self._on_error = on_error
        self._on_hang = on_hang
        self._limit_s = limit_s
        self._call_limit_s = call_limit_s
        self._threads: dict[str, LimitedThread] = {}
        self._clock = clock
        self._tallies: dict[tuple[str, str], _Tally] = {}
        self._watchers: tuple[HookWatcher, ...] = ()

    @contextmanager
    def watched(self, watcher: HookWatcher) -> Iterator[None]:
        """Tell the watcher of each call, on whatever thread it was; it must return at once."""
        self._watchers = (*self._watchers, watcher)
        try:
            yield
        finally:
            self._watchers = tuple(each for each in self._watchers if each is not watcher)

    def times(self) -> list[HookTime]:
        """What each hook of each plugin has cost, the dearest first."""
        found = [
            HookTime(*key, tally.calls, tally.seconds, tally.errors)
            for key, tally in list(self._tallies.items())
        ]
        return sorted(found, key=lambda time: -time.seconds)

    def replace_arguments(
        self, hooks: list[Hook], info: Any, context: Any, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        """The arguments after each hook has seen them; a `LingOSError` refuses the call.

        So does a hook that hangs: what it would have said is not known.
        """
        for hook in hooks:
            replaced = self._call(
                self._around(hook), info=info, context=context, arguments=arguments
            )
            if isinstance(replaced, dict):
                arguments = replaced
            elif replaced is not None:
                self._note(hook, TypeError(f"gave {type(replaced).__name__}, not a dict"))
        return arguments

    def tell(self, hooks: list[Hook], **arguments: Any) -> None:
        """Call each hook; never raises."""
        for hook in hooks:
            try:
                self._call(self._around(hook), **arguments)
            except LingOSError as error:  # there is nothing left to refuse
                self._note(hook, error)

    async def run(self, hooks: list[Hook], **arguments: Any) -> None:
        """Call each hook, plain or async, within the limit; never raises but on cancel.

        Plain ones run on a thread, off the event loop.
        """
        for hook in hooks:
            try:
                if inspect.iscoroutinefunction(hook.function):
                    value = self._call(hook, **arguments)
                else:
                    value = await asyncio.to_thread(self._call, self._limited(hook), **arguments)
                if inspect.isawaitable(value):
                    async with asyncio.timeout(self._limit_s):
                        await value
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  the plugin is named, the others go on
                self._note(hook, error)

    def _limited(self, hook: Hook) -> Hook:
        """The hook, given up at the limit."""

        def call(*arguments: Any) -> Any:
            act = partial(hook.function, *arguments)
            return run_limited(act, name=hook.name, limit_s=self._limit_s).result()

        return replace(hook, function=call)

    def _around(self, hook: Hook) -> Hook:
        """The hook, on the thread of its plugin, and given up at the limit of a call."""

        def call(*arguments: Any) -> Any:
            thread = self._threads.setdefault(hook.plugin, LimitedThread(f"hooks:{hook.plugin}"))
            act = partial(hook.function, *arguments)
            try:
                outcome = thread.run(act, limit_s=self._call_limit_s)
            except TimedOutError as error:
                text = f"{hook.name} did not end in {self._call_limit_s:g} s"
                self._on_hang(hook.plugin, text)
                raise PluginFailed(
                    f"plugin {hook.plugin}: {text}", hint="it is turned off now; try again"
                ) from error
            if outcome.error is not None:
                raise outcome.error
            return outcome.value

        return replace(hook, function=call)

    def _call(self, hook: Hook, **arguments: Any) -> Any:
        """What the hook returns; None when it fails. A `LingOSError` is raised on."""
        tally = self._tallies.setdefault((hook.plugin, hook.name), _Tally())
        begun, failure = self._clock(), ""
        try:
            return hook.function(*[arguments[name] for name in hook.takes])
        except LingOSError as error:
            failure = str(error)
            raise
        except BaseException as error:  # noqa: BLE001  SystemExit too: a plugin must not end the app
            failure = f"{type(error).__name__}: {error}"
            self._note(hook, error)
            return None
        finally:
            took_s = self._clock() - begun
            tally.calls += 1
            tally.seconds += took_s
            for tell in self._watchers:
                name = getattr(arguments.get("info"), "name", "")
                tell(HookRun(hook.plugin, hook.name, name, took_s, failure))

    def _note(self, hook: Hook, error: BaseException) -> None:
        tally = self._tallies.setdefault((hook.plugin, hook.name), _Tally())
        tally.errors += 1
        text = f"{hook.name} raised {type(error).__name__}: {error}"
        level = logging.ERROR if tally.errors == 1 else logging.DEBUG  # no flood, call by call
        log.log(level, "plugin %s: %s", hook.plugin, text, exc_info=error)
        self._on_error(hook.plugin, text)
