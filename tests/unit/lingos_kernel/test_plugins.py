"""The plugin host: whatever one plugin does, it is named, and the others work."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lingos_kernel import Register, hookimpl, syscall
from lingos_kernel.config import PluginsConfig
from lingos_kernel.errors import NotPermitted, PluginError, PluginFailed
from lingos_kernel.plugin_records import Candidate, find_plugins
from lingos_kernel.plugins import PluginHost
from lingos_kernel.registry import Registry
from lingos_kernel.syscalls.table import SyscallTable


def syscalls(*names: str) -> Any:
    """A plugin that registers syscalls of these names."""

    class Plugin:
        @hookimpl
        def lingos_register_syscalls(self, register: Register) -> None:
            for name in names:

                @syscall(name)
                def go() -> None:
                    """Go."""

                register.add(go)

    return Plugin()


def candidate(name: str, load: Callable[[], Any] | Any, distribution: str = "pkg") -> Candidate:
    """An installed plugin; `load` imports it, or is it."""
    loader = load if callable(load) and not isinstance(load, type) else lambda: load
    return Candidate(name, distribution or f"{name}-pkg", "1.0", f"{name}.module", loader)


def host(*candidates: Candidate, **settings: Any) -> tuple[PluginHost, SyscallTable]:
    """A host that finds these plugins, with a syscall table attached."""
    made = PluginHost(PluginsConfig(**settings), find=lambda: list(candidates))
    table = SyscallTable()
    made.attach("syscalls", table)
    return made, table


def names(table: SyscallTable) -> list[str]:
    """The registered names."""
    return [info.name for info in table.infos()]


def never() -> Any:
    """An import that must not happen."""
    raise AssertionError("imported")


def test_listing_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed plugins are found by their entry points, and none is imported."""
    (tmp_path / "noisy_plugin.py").write_text("raise AssertionError('imported')")
    info = tmp_path / "noisy-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[lingos]\nnoise = noisy_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = PluginHost(PluginsConfig(load=()), find=find_plugins)
    record = next(r for r in made.available() if r.name == "noise")
    assert (record.distribution, record.version, record.module) == ("noisy", "1.5", "noisy_plugin")
    assert record.state == "disabled"
    assert "noisy_plugin" not in sys.modules
    (loaded,) = made.load(["noise"])
    assert loaded.state == "failed"
    assert "plugin noise cannot be imported: AssertionError: imported" in loaded.error
    assert "reinstall or update noisy" in loaded.error


def test_loading() -> None:
    """A loaded plugin's record says what it provides and how long its import took."""
    made, table = host(candidate("a", syscalls("one", "x.two")))
    assert [r.state for r in made.available()] == ["available"]
    (record,) = made.load()
    assert record.state == "loaded"
    assert record.provides == {"syscalls": ("a.one", "x.two")}
    assert record.import_s >= 0
    assert not record.slow
    assert names(table) == ["a.one", "x.two"]
    assert made.load() == [record], "a second load changes nothing"


def test_filter_comes_before_the_import() -> None:
    """Plugins that are not asked for are never imported; unknown names are told."""
    made, table = host(candidate("a", syscalls("one")), candidate("b", never), load=("a", "bb"))
    loaded, missing = made.load()
    assert (loaded.name, loaded.state) == ("a", "loaded")
    assert (missing.name, missing.state) == ("bb", "failed")
    assert "did you mean b?" in missing.error
    states = {record.name: record.state for record in made.records()}
    assert states == {"a": "loaded", "b": "disabled", "bb": "failed"}
    assert names(table) == ["a.one"]


def test_empty_list_loads_none() -> None:
    """An empty list turns all plugins off."""
    made, _ = host(candidate("a", never), load=())
    assert made.load() == []
    assert made.records()[0].state == "disabled"


def exits() -> Any:
    """An import that ends programs."""
    raise SystemExit(2)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (exits, "cannot be imported: SystemExit: 2"),
        (never, "cannot be imported: AssertionError"),
        (lambda: __import__("no_such_module"), "ModuleNotFoundError"),
    ],
)
def test_failed_import(broken: Callable[[], Any], said: str) -> None:
    """An import that raises anything is told, and the next plugin loads."""
    made, table = host(candidate("bad", broken), candidate("good", syscalls("one")))
    bad, good = made.load()
    assert bad.state == "failed"
    assert said in bad.error
    assert good.state == "loaded"
    assert names(table) == ["good.one"]


def test_import_that_hangs() -> None:
    """An import without end is given up at its limit and named."""
    gate = threading.Event()
    made, _ = host(
        candidate("stuck", lambda: gate.wait(30)),
        candidate("good", syscalls("one")),
        import_timeout_s=0.05,
    )
    stuck, good = made.load()
    gate.set()
    assert stuck.state == "timed_out"
    assert "plugin stuck did not import in 0.05 s" in stuck.error
    assert good.state == "loaded"


class Stuck:
    """A plugin whose register hook adds one syscall and blocks until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Register one, and block."""

        @syscall("half")
        def half() -> None:
            """Half."""

        register.add(half)
        self.gate.wait(30)


@pytest.mark.parametrize("late", [False, True])
def test_register_hook_that_hangs(late: bool) -> None:
    """A register hook without end is given up and named, whether at a load or at an attach."""
    gate = threading.Event()
    found = [candidate("stuck", Stuck(gate)), candidate("good", syscalls("one"))]
    made = PluginHost(PluginsConfig(import_timeout_s=0.2), find=lambda: found)
    table = SyscallTable()
    acts: list[Callable[[], Any]] = [made.load, lambda: made.attach("syscalls", table)]
    try:
        for act in acts if late else reversed(acts):
            act()
        records = {record.name: record for record in made.records()}
    finally:
        gate.set()
    assert records["stuck"].state == "timed_out"
    said = "plugin stuck: lingos_register_syscalls did not end in 0.2 s"
    assert records["stuck"].error == said
    assert records["stuck"].provides == {}
    assert records["good"].state == "loaded"
    assert names(table) == ["good.one"]


def test_register_hook_that_exits() -> None:
    """A register hook that ends programs puts only its plugin out."""

    class Plugin:
        @hookimpl
        def lingos_register_syscalls(self) -> None:
            exits()

    made, table = host(candidate("bad", Plugin()), candidate("good", syscalls("one")))
    bad, good = made.load()
    assert (bad.state, bad.error) == ("failed", "plugin bad: SystemExit: 2")
    assert good.state == "loaded"
    assert names(table) == ["good.one"]


def test_register_hooks_count_as_import_time() -> None:
    """What a register hook takes is added to the plugin's time."""
    found = [candidate("a", syscalls("one"))]
    made = PluginHost(PluginsConfig(), find=lambda: found)
    (before,) = made.load()
    made.attach("syscalls", SyscallTable())
    assert made.records()[0].import_s > before.import_s


def test_slow_import_is_flagged() -> None:
    """An import above the limit still loads, and says that it is slow."""
    made, _ = host(candidate("a", syscalls("one")), slow_s=1e-9)
    assert made.load()[0].slow


class Raises:
    """A plugin whose register hook adds one syscall and then raises."""

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Register half."""

        @syscall("half")
        def half() -> None:
            """Half."""

        register.add(half)
        raise ValueError("half way")


class UnknownHook:
    """A plugin with a mistyped hook."""

    @hookimpl
    def lingos_register_syscall(self, register: Register) -> None:
        """Never called."""


class WrongArguments:
    """A plugin whose hook wants what it does not get."""

    @hookimpl
    def lingos_before_syscall(self, information: Any) -> None:
        """Never called."""


class AsyncHook:
    """A plugin whose before hook is async."""

    @hookimpl
    async def lingos_before_syscall(self) -> None:
        """Never called."""


class Wrapper:
    """A plugin with a hook wrapper."""

    @hookimpl(wrapper=True)
    def lingos_after_syscall(self) -> Any:
        """Never called."""
        return (yield)


class FailsToStart:
    """A plugin class that cannot be made."""

    def __init__(self) -> None:
        raise OSError("no device")


@pytest.mark.parametrize(
    ("plugin", "said"),
    [
        (Raises(), "ValueError: half way"),
        (UnknownHook(), "no hook lingos_register_syscall (did you mean lingos_register_syscalls"),
        (WrongArguments(), "information"),
        (AsyncHook(), "must be a plain function"),
        (Wrapper(), "wrappers are not supported"),
        (FailsToStart, "OSError: no device"),
    ],
)
def test_broken_contract(plugin: Any, said: str) -> None:
    """A plugin that breaks the contract is out, with all that it had registered."""
    made, table = host(candidate("bad", plugin), candidate("good", syscalls("one")))
    bad, good = made.load()
    assert (bad.state, good.state) == ("failed", "loaded")
    assert bad.error.startswith("plugin bad")
    assert said in bad.error
    assert names(table) == ["good.one"]
    assert not made.watches_before
    assert not made.watches_after


def test_colliding_syscalls() -> None:
    """The first keeps the name, the second keeps its others; the record names both."""
    made, table = host(
        candidate("first", syscalls("x.same")), candidate("second", syscalls("x.same", "x.other"))
    )
    _, second = made.load()
    assert second.state == "loaded"
    assert second.provides == {"syscalls": ("x.other",)}
    assert "x.same of second is refused: first has it" in second.error
    assert table.get("x.same").info.owner == "first"


def test_two_packages_with_one_plugin_name() -> None:
    """The second package's plugin of the same name is refused, and named by its package."""
    made, table = host(
        candidate("a", syscalls("one"), "pkg1"), candidate("a", syscalls("two"), "pkg2")
    )
    first, second = made.load()
    assert (first.state, second.state) == ("loaded", "failed")
    assert "plugin a of pkg2 is refused: pkg1 has that name" in second.error
    assert names(table) == ["a.one"]


def test_built_in_plugins_come_first() -> None:
    """A plugin loaded earlier cannot take a name of a built-in one; built-in faults are raised."""
    made = PluginHost(PluginsConfig(), find=lambda: [candidate("thief", syscalls("llm.chat"))])
    made.load()
    made.register(syscalls("llm.chat"), "llm")
    table = SyscallTable()
    made.attach("syscalls", table)
    assert table.get("llm.chat").info.owner == "llm"
    assert [r.name for r in made.records()] == ["llm", "thief"]
    assert "refused" in made.records()[1].error
    with pytest.raises(PluginFailed):
        made.register(syscalls("llm.chat"), "llm2")
    with pytest.raises(ValueError, match="half way"):
        made.register(Raises(), "bad")
    with pytest.raises(PluginError, match="built in"):
        made.disable("llm")


def test_disable_and_load_again() -> None:
    """A plugin can be turned off and on while running."""
    made, table = host(candidate("a", syscalls("one")))
    made.load()
    assert made.disable("a").state == "disabled"
    assert names(table) == []
    assert made.records()[0].provides == {}
    with pytest.raises(PluginError, match="no plugin 'a' is loaded"):
        made.disable("a")
    assert made.load(["a"])[0].state == "loaded"
    assert names(table) == ["a.one"]


def test_only_attached_kinds_are_asked() -> None:
    """A front end that wants commands does not make a plugin register anything else."""
    asked = []

    class Plugin:
        @hookimpl
        def lingos_register_commands(self, register: Register) -> None:
            register.add(SimpleNamespace(name="hello"))

        @hookimpl
        def lingos_register_panes(self, register: Register) -> None:
            asked.append("panes")

    made = PluginHost(PluginsConfig(), find=lambda: [candidate("a", Plugin())])
    commands = Registry("command")
    made.attach("commands", commands)
    made.load()
    assert list(commands.items) == ["hello"]
    assert asked == []
    with pytest.raises(ValueError, match="commmands"):
        made.attach("commmands", commands)


def test_discovery_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A broken installation elsewhere leaves the kernel without plugins, and says so."""

    def find() -> list[Candidate]:
        raise RuntimeError("bad metadata")

    made = PluginHost(PluginsConfig(), find=find)
    assert made.load() == []
    assert "bad metadata" in caplog.text


class Watcher:
    """A plugin with hooks around calls and the kernel's life."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.fails = False
        self.answer: Any = None

    @hookimpl
    def lingos_before_syscall(self, arguments: dict[str, Any]) -> Any:
        """Note, fail, or answer."""
        self.seen.append(("before", arguments))
        if self.fails:
            raise ValueError("oops")
        return self.answer

    @hookimpl
    def lingos_after_syscall(self, outcome: Any) -> None:
        """Note or fail."""
        self.seen.append(("after", outcome))
        if self.fails:
            raise NotPermitted("too late")

    @hookimpl
    async def lingos_startup(self, kernel: Any) -> None:
        """Note or fail."""
        self.seen.append(("startup", kernel))
        await asyncio.sleep(0)
        if self.fails:
            raise ValueError("no start")

    @hookimpl
    def lingos_shutdown(self, kernel: Any) -> None:
        """Note."""
        self.seen.append(("shutdown", kernel))


def watched() -> tuple[PluginHost, Watcher, Watcher]:
    """A host with two watchers; the second is called first, as pluggy does it."""
    one, two = Watcher(), Watcher()
    made, _ = host(candidate("one", one), candidate("two", two))
    made.load()
    return made, one, two


def test_before_hooks_may_replace_or_refuse() -> None:
    """Arguments pass from hook to hook; a LingOSError refuses; other failures are only noted."""
    made, one, two = watched()
    assert made.watches_before
    two.answer = {"a": 2}
    assert made.before_syscall(None, None, {"a": 1}) == {"a": 2}
    assert one.seen == [("before", {"a": 2})]
    two.fails = True
    assert made.before_syscall(None, None, {"a": 1}) == {"a": 1}
    record = next(r for r in made.records() if r.name == "two")
    assert "plugin two: lingos_before_syscall raised ValueError: oops" in record.error
    one.answer = 5
    assert made.before_syscall(None, None, {"a": 1}) == {"a": 1}
    assert "gave int, not a dict" in next(r for r in made.records() if r.name == "one").error

    class Refuses:
        @hookimpl
        def lingos_before_syscall(self) -> None:
            raise NotPermitted("not today")

    made.register(Refuses(), "refuses")
    with pytest.raises(NotPermitted, match="not today"):
        made.before_syscall(None, None, {})


def test_after_hooks_never_raise() -> None:
    """Every hook hears of the end, whatever the others raise; the times are kept."""
    made, one, two = watched()
    two.fails = True
    made.after_syscall(None, None, "end")
    made.after_syscall(None, None, "end")
    assert one.seen == two.seen == [("after", "end")] * 2
    times = {(t.plugin, t.hook): (t.calls, t.errors) for t in made.times()}
    assert times["two", "lingos_after_syscall"] == (2, 2)
    assert times["one", "lingos_after_syscall"] == (2, 0)
    assert all(t.seconds >= 0 for t in made.times())


class Exits:
    """A plugin whose hooks around calls raise what would end the program."""

    @hookimpl
    def lingos_before_syscall(self) -> None:
        """End the program."""
        raise SystemExit(3)

    @hookimpl
    def lingos_after_syscall(self) -> None:
        """Break off whatever runs."""
        raise asyncio.CancelledError


def test_hooks_that_would_end_the_program() -> None:
    """What is no `Exception` ends neither the call nor the kernel; the plugin is named."""
    made, _ = host(candidate("bad", Exits))
    made.load()
    assert made.before_syscall(None, None, {"x": 1}) == {"x": 1}
    made.after_syscall(None, None, "end")
    assert {(t.hook, t.errors) for t in made.times()} == {
        ("lingos_before_syscall", 1),
        ("lingos_after_syscall", 1),
    }


class Hangs:
    """A plugin that hangs around some calls, until told to go on."""

    gate = threading.Event()

    @hookimpl
    def lingos_before_syscall(self, arguments: dict[str, Any]) -> None:
        """Hang for one argument."""
        if "hang" in arguments:
            self.gate.wait()

    @hookimpl
    def lingos_after_syscall(self, outcome: Any) -> None:
        """Hang for one outcome."""
        if outcome == "hang":
            self.gate.wait()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hook_that_hangs_turns_its_plugin_off(when: str) -> None:
    """The call that met it is refused, or ends; the calls to come go on without the plugin."""
    Hangs.gate.clear()
    made, _ = host(candidate("bad", Hangs), hook_timeout_s=0.5)
    made.load()
    assert made.before_syscall(None, None, {}) == {}
    if when == "before":
        with pytest.raises(PluginFailed, match=r"bad: lingos_before_syscall did not end in 0.5 s"):
            made.before_syscall(None, None, {"hang": 1})
    else:
        made.after_syscall(None, None, "hang")
    (record,) = made.records()
    assert record.state == "timed_out"
    assert f"lingos_{when}_syscall did not end" in record.error
    assert not made.watches_before
    assert not made.watches_after
    assert made.before_syscall(None, None, {"hang": 1}) == {"hang": 1}
    Hangs.gate.set()


def test_a_class_that_hangs_as_it_is_made() -> None:
    """It is given up as an import would be."""
    gate = threading.Event()

    class Stuck:
        """A plugin that waits for something before it is one."""

        def __init__(self) -> None:
            gate.wait()

    made, _ = host(candidate("bad", Stuck), import_timeout_s=0.05)
    (record,) = made.load()
    gate.set()
    assert record.state == "timed_out"
    assert "making bad did not end in 0.05 s" in record.error


async def test_startup_and_shutdown() -> None:
    """Each plugin is started once, plain or async, and stopped in reverse; failures are noted."""
    made, one, two = watched()
    one.fails = True
    await made.startup("kernel")
    await made.startup("kernel")
    assert one.seen == two.seen == [("startup", "kernel")]
    assert "no start" in next(r for r in made.records() if r.name == "one").error
    await made.shutdown("kernel")
    await made.shutdown("kernel")
    assert two.seen == [("startup", "kernel"), ("shutdown", "kernel")]


async def test_startup_that_hangs_is_given_up() -> None:
    """An async hook without end holds up the kernel only to its limit."""

    class Plugin:
        @hookimpl
        async def lingos_startup(self) -> None:
            await asyncio.Event().wait()

    made, _ = host(candidate("slow", Plugin()), import_timeout_s=0.02)
    made.load()
    await made.startup(None)
    assert "TimeoutError" in made.records()[0].error


async def test_plain_hooks_that_hang_are_given_up() -> None:
    """A plain startup or shutdown hook that blocks is given up and named; the next is called."""
    gate = threading.Event()

    class Plugin:
        @hookimpl
        def lingos_startup(self) -> None:
            gate.wait(30)

        @hookimpl
        def lingos_shutdown(self) -> None:
            gate.wait(30)

    after = Watcher()
    made, _ = host(candidate("a", Plugin()), candidate("b", after), import_timeout_s=0.2)
    made.load()
    try:
        for hook, act in (("startup", made.startup), ("shutdown", made.shutdown)):
            await act(None)
            error = made.records()[0].error
            assert error.startswith(f"plugin a: lingos_{hook} raised TimedOutError")
            assert "did not end in 0.2 s" in error
    finally:
        gate.set()
    assert after.seen == [("startup", None), ("shutdown", None)]
