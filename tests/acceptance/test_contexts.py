"""Contexts on a real kernel and model: pages are reused, answers are the same, nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from lingos_kernel.client.http import HttpClient
from lingos_kernel.config import Config, load_config
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.server import daemon

pytestmark = [pytest.mark.slow, pytest.mark.model]

WAIT_S = 120.0
FACTS = " ".join(f"Fact {n}: house {n} has {n + 2} windows." for n in range(12))
SYSTEM = {"role": "system", "content": f"Answer briefly. {FACTS}"}


@pytest.fixture
def config(model_store: ModelStore, default_model: StoredModel) -> Iterator[Config]:
    """The settings of a kernel in a folder of its own, with the session's models."""
    assert default_model.kind == "causal"
    with tempfile.TemporaryDirectory(prefix="lingos-") as home:
        config = load_config(
            environ={"LINGOS_HOME": home},
            overrides={"plugins.load": (), "models.store": model_store.root, "engine.threads": 1},
        )
        yield config
        daemon.stop(config)


def ask(text: str) -> dict[str, Any]:
    """The arguments of a short greedy answer."""
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 12}


async def test_forks_compute_only_their_own_tail(config: Config) -> None:
    """A fork's first prompt takes all whole pages of what it shares from the prefix tree."""
    await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        await client.call("ctx.create", name="base", messages=[SYSTEM])
        first = await client.call("llm.chat", context="base", **ask("How many houses are there?"))
        shared = first["context"]["tokens"]
        for number, at in enumerate((None, shared, shared - 1, shared // 2 + 5)):
            fork = await client.call("ctx.fork", name="base", to=f"f{number}", at=at)
            answer = await client.call("llm.chat", context=f"f{number}", **ask(f"House {number}?"))
            pages = fork["tokens"] // PAGE_SLOTS
            assert answer["usage"]["cached_tokens"] >= pages * PAGE_SLOTS, fork
        # The same conversation, given whole and without a context, ends the same.
        shown = await client.call("ctx.show", name="f0")
        said = [
            {"role": message["role"], "content": message["content"]}
            for message in shown["messages"]
        ]
        plain = await client.call("llm.chat", messages=said[:-1], max_tokens=12)
        assert said[-1]["content"] == plain["text"]


async def test_contexts_survive_kill_9(config: Config) -> None:
    """After kill -9 the conversation is there, token by token, and goes on as it would have."""
    started = await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        await client.call("ctx.create", name="talk", messages=[SYSTEM])
        await client.call("llm.chat", context="talk", **ask("Which house has 5 windows?"))
        await client.call("ctx.fork", name="talk", to="undisturbed")
        expected = await client.call("llm.chat", context="undisturbed", **ask("And 6?"))
        before = await client.call("ctx.show", name="talk", token_ids=True)
        saved = await client.call("ctx.save", name="talk")
        assert started.os_pid is not None
        os.kill(started.os_pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            assert await asyncio.to_thread(daemon.has_ended, started.os_pid, WAIT_S)
        await asyncio.to_thread(daemon.start, config)
        assert await client.call("ctx.show", name="talk", token_ids=True) == before
        opened = await client.call("ctx.open", path=saved["path"], name="copy")
        assert opened["tokens"] == before["tokens"]
        for name in ("talk", "copy"):
            again = await client.call("llm.chat", context=name, **ask("And 6?"))
            assert again["text"] == expected["text"]
