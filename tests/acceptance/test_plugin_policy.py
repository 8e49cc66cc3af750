"""A scheduling policy of a plugin, in a kernel with an engine process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from lingos_kernel.config import load_config
from lingos_kernel.kernel import Kernel
from lingos_kernel.models.store import ModelStore

PLUGIN = '''
"""A policy that writes down in which process it decides, and how much was computed."""

import os

from lingos_kernel import hookimpl
from lingos_kernel.scheduling.policy import BasePolicy, TenantBook


class Witness(BasePolicy):
    name = "witness"

    def __init__(self):
        self._tokens = 0

    def rank(self, work, ahead_tokens=0):
        return (work.priority, -work.order)

    def on_served(self, work, tokens):
        self._tokens += tokens

    def tenant_books(self):
        return [TenantBook("witness", 1.0, os.getpid(), self._tokens)]


@hookimpl
def lingos_register_policies(register):
    register.add(Witness)
'''


@pytest.fixture
def plugin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the plugin is installed, where this process and its children look."""
    folder = tmp_path / "installed"
    info = folder / "witness-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "witness_policy.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lingos]\nwitness = witness_policy\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


@pytest_asyncio.fixture
async def kernel(tmp_path: Path, plugin_folder: Path, tiny_llama: Path) -> AsyncIterator[Kernel]:
    """A kernel whose settings name the plugin's policy."""
    assert plugin_folder.is_dir()
    store = ModelStore(tmp_path / "models")
    await asyncio.to_thread(store.pull, str(tiny_llama), alias="tiny")
    config = load_config(
        environ={"LINGOS_HOME": str(tmp_path), "LINGOS_LOAD_PLUGINS": "witness"},
        overrides={
            "engine.policy": "witness",
            "engine.threads": 1,
            "engine.device": "cpu",
            "engine.kv_bytes": 4 << 20,
            "models.default": "tiny",
        },
    )
    made = Kernel(config, store=store)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def books_of(kernel: Kernel, is_right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the policy in the engine has written down, once it is as it should be."""
    async with asyncio.timeout(60):
        while True:
            found = (await kernel.call("sys.policy"))["tenants"].get("tiny", ())
            books = {book["tenant"]: book for book in found}
            if is_right(books):
                return books
            await asyncio.sleep(0.01)


async def ask(kernel: Kernel) -> None:
    """Have some tokens computed."""
    await kernel.call("llm.complete", prompt="once", max_tokens=5, ignore_eos=True)


async def test_it_decides_in_the_engine_s_process(kernel: Kernel) -> None:
    """From the start, after a change there and back, and in the next engine after a crash."""
    await ask(kernel)
    books = await books_of(kernel, lambda books: bool(books))
    first_pid = kernel.engine.os_pid
    assert first_pid is not None
    assert books["witness"]["counter"] == first_pid != os.getpid()
    assert books["witness"]["tokens"] > 5

    await kernel.call("sys.policy", name="fifo")
    await ask(kernel)
    await books_of(kernel, lambda books: not books)
    changed = await kernel.call("sys.policy", name="witness")
    assert changed["policy"] == "witness"
    assert "witness" in changed["choices"]
    await books_of(kernel, lambda books: bool(books) and books["witness"]["tokens"] == 0)

    os.kill(first_pid, signal.SIGKILL)
    await ask(kernel)
    books = await books_of(
        kernel, lambda books: bool(books) and books["witness"]["counter"] != first_pid
    )
    assert books["witness"]["counter"] == kernel.engine.os_pid
