"""The kernel as a whole: what plugins add to it, how it starts, stops and survives."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel import Register, hookimpl, syscall
from lingos_kernel.engine.choice import engine_settings, make_engine
from lingos_kernel.errors import Cancelled, ConfigError, KernelUnavailable, SyscallFailed
from lingos_kernel.kernel import Kernel
from lingos_kernel.scheduling.policies import Fifo
from lingos_kernel.testing import ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_config, scripted_kernel, scripted_store


class Lottery(Fifo):
    """A scheduling policy of a plugin."""

    name = "lottery"


class Extras:
    """A plugin that adds one of each."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.serving = asyncio.Event()

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Two syscalls."""

        @syscall("extra.double", capability="*")
        def double(x: int) -> int:
            """Double a number."""
            return 2 * x

        @syscall("extra.broken", capability="*")
        def broken() -> None:
            """Raise something."""
            raise RuntimeError("the handler's own fault")

        register.add(double)
        register.add(broken)

    @hookimpl
    def lingos_register_policies(self, register: Register) -> None:
        """A policy."""
        register.add(Lottery)

    @hookimpl
    def lingos_register_services(self, register: Register) -> None:
        """A service that runs until it is cancelled."""

        async def serve(kernel: Kernel) -> None:
            self.heard.append(f"serving {await kernel.call('extra.double', x=4)}")
            self.serving.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.heard.append("service ended")

        register.add(serve, name="listener")

    @hookimpl
    async def lingos_startup(self, kernel: Any) -> None:
        """Calls work by now."""
        self.heard.append(f"startup {await kernel.call('extra.double', x=1)}")

    @hookimpl
    def lingos_shutdown(self) -> None:
        """The end."""
        self.heard.append("shutdown")


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    """A kernel that has not been started, so that plugins can be put in."""
    config = scripted_config(tmp_path)
    return Kernel(config, engine=ScriptedEngine(), store=scripted_store(config.models.store))


async def test_a_plugin_lives_with_the_kernel(kernel: Kernel) -> None:
    """Its syscalls, startup, service and shutdown all have their turn."""
    extras = Extras()
    kernel.plugins.register(extras, "extras")
    await kernel.start()
    await extras.serving.wait()
    assert await kernel.call("extra.double", x=21) == 42
    assert kernel.policies.items == {"lottery": Lottery}
    await kernel.stop()
    assert extras.heard == ["startup 2", "serving 8", "shutdown", "service ended"]


async def test_a_handler_s_exception_ends_its_call_alone(kernel: Kernel) -> None:
    """The caller gets the error with its text, and the kernel goes on."""
    kernel.plugins.register(Extras(), "extras")
    await kernel.start()
    with pytest.raises(SyscallFailed, match="the handler's own fault"):
        await kernel.call("extra.broken")
    assert await kernel.call("extra.double", x=1) == 2
    await kernel.stop()


async def test_stopping_ends_what_runs(tmp_path: Path) -> None:
    """A call in the middle ends as cancelled, and later ones are refused."""
    engine = ScriptedEngine(is_automatic=False)
    async with scripted_kernel(tmp_path, engine=engine) as kernel:
        me = kernel.processes.get(1).principal
        call = kernel.submit(me, "llm.complete", {"prompt": "Hi"})
        while not kernel.built.requests.of(call.pid):
            await asyncio.sleep(0)
    with pytest.raises(Cancelled):
        await call.result()
    with pytest.raises(KernelUnavailable):
        await kernel.submit(me, "sys.noop").result()


async def test_every_call_is_in_the_audit_log(tmp_path: Path) -> None:
    """Names of arguments, not their values."""
    async with scripted_kernel(tmp_path) as kernel:
        await kernel.call("llm.complete", prompt="a secret")
        path = kernel.audit.path
    text = path.read_text(encoding="utf-8")
    assert '"llm.complete"' in text
    assert "prompt" in text
    assert "a secret" not in text


def test_a_plugin_s_policy_travels_by_module_and_name(tmp_path: Path) -> None:
    """The engine's process can import it."""
    config = scripted_config(tmp_path, settings={"engine.policy": "lottery"})
    settings = engine_settings(config, {"lottery": Lottery})
    assert settings.policy == f"{__name__}:Lottery"
    with pytest.raises(ConfigError, match="lottery"):
        make_engine(config, drivers={}, policies={})


def test_weights_and_pace_reach_the_engine(tmp_path: Path) -> None:
    """What the settings say of them is in its own."""
    given: dict[str, Any] = {"engine.tenant_weights": {"ann": 3.0}, "engine.pace": 1.5}
    given["engine.tenant_hold_share"] = 0.25
    settings = engine_settings(scripted_config(tmp_path, settings=given), {})
    assert settings.tenant_weights == {"ann": 3.0}
    assert settings.pace == 1.5
    assert settings.tenant_hold_share == 0.25


def test_a_driver_replaces_the_engine(tmp_path: Path) -> None:
    """`engine.mode` names it; an unknown one is refused with what there is."""
    config = scripted_config(tmp_path, settings={"engine.mode": "scripted"})
    engine = ScriptedEngine()
    assert make_engine(config, drivers={"scripted": lambda _: engine}, policies={}) is engine
    with pytest.raises(ConfigError, match="no driver has that name"):
        make_engine(config, drivers={}, policies={})
