"""Plugins are turned on and off while the kernel runs, and it is remembered."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from lingos_kernel import hookimpl
from lingos_kernel.client.local import LocalClient
from lingos_kernel.errors import ConfirmationRequired, PluginError, UnknownSyscall
from lingos_kernel.kernel import Kernel
from lingos_kernel.syscalls.events import Item
from lingos_kernel.testing.scripted_kernel import scripted_kernel


class Watching:
    """A plugin that looks at each call."""

    @hookimpl
    def lingos_after_syscall(self, info: object, outcome: object) -> None:
        """Nothing."""


def listed(rows: list[dict[str, object]], name: str) -> dict[str, object]:
    """The row of a plugin."""
    return next(row for row in rows if row["name"] == name)


async def test_disable_and_enable(tmp_path: Path) -> None:
    """Its syscalls go and come at once; a person has to say yes to turning one off."""
    async with scripted_kernel(tmp_path, plugins="text") as kernel:
        client = LocalClient(kernel)
        sure = client.with_options(confirmed=True)
        with pytest.raises(ConfirmationRequired):
            await client.call("plugin.disable", name="text")
        told = await sure.call("plugin.disable", name="text")
        assert told == {
            "name": "text", "state": "disabled", "error": "", "after_restart": [],
            "in_front_ends": [],
        }  # fmt: skip
        with pytest.raises(UnknownSyscall):
            await client.call("text.chunk", text="a")
        row = listed(await client.call("plugin.list"), "text")
        assert (row["state"], row["enabled"]) == ("disabled", False)
        assert (await client.call("plugin.enable", name="text"))["state"] == "loaded"
        row = listed(await client.call("plugin.list"), "text")
        assert (row["state"], row["enabled"]) == ("loaded", True)
        assert "text.chunk" in row["provides"]["syscalls"]  # type: ignore[index]


async def test_it_is_remembered(tmp_path: Path) -> None:
    """A plugin that was turned off is not loaded by the next kernel."""
    async with scripted_kernel(tmp_path, plugins="text") as kernel:
        await LocalClient(kernel).with_options(confirmed=True).call("plugin.disable", name="text")
    async with scripted_kernel(tmp_path, plugins="text") as kernel:
        row = listed(await LocalClient(kernel).call("plugin.list"), "text")
        assert (row["state"], row["enabled"]) == ("disabled", False)


async def test_refusals(tmp_path: Path) -> None:
    """Unknown and built-in plugins cannot be turned off; the nearest name is told."""
    async with scripted_kernel(tmp_path) as kernel:
        sure = LocalClient(kernel).with_options(confirmed=True)
        with pytest.raises(PluginError, match="built in"):
            await sure.call("plugin.disable", name="llm")
        with pytest.raises(PluginError, match="no plugin 'txt'") as caught:
            await sure.call("plugin.enable", name="txt")
        assert "text" in (caught.value.hint or "")


async def first_line(kernel: Kernel, name: str, event: str) -> dict[str, object]:
    """The first line of a trace that tells of such an event, while calls are made."""
    client = LocalClient(kernel)

    async def busy() -> None:
        while True:
            await client.call("sys.noop")

    calls = asyncio.create_task(busy())
    try:
        async with aclosing(client.stream("plugin.trace", name=name)) as events:
            async for found in events:
                if isinstance(found, Item) and found.data["event"] == event:
                    return dict(found.data)
    finally:
        calls.cancel()
    raise AssertionError("the trace ended")


async def test_trace(tmp_path: Path) -> None:
    """The hooks of a plugin and the calls of its syscalls are streamed, with what they cost."""
    async with scripted_kernel(tmp_path) as kernel:
        kernel.plugins.register(Watching(), "watching")
        line = await first_line(kernel, "watching", "hook")
        assert (line["hook"], line["outcome"]) == ("lingos_after_syscall", "ok")
        assert str(line["syscall"])
        line = await first_line(kernel, "sys", "end")
        assert (line["syscall"], line["outcome"]) == ("sys.noop", "ok")
        row = listed(await LocalClient(kernel).call("plugin.list"), "watching")
        assert row["hook_calls"]
        assert row["built_in"] is True
