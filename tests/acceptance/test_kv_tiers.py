"""KV pages outlive the kernel: the real model finds a long prompt on the disk after a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.config import load_config
from lingos_kernel.kernel import Kernel
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.security.principal import Principal

pytestmark = [pytest.mark.slow, pytest.mark.model]

FACTS = " ".join(f"Fact {n}: house {n} has {n + 2} windows." for n in range(24))
QUESTION = [
    {"role": "system", "content": f"Answer briefly. {FACTS}"},
    {"role": "user", "content": "How many windows has house 5?"},
]
RED = Principal("rose", tenant="red", capabilities=frozenset({"*"}))
BLUE = Principal("ben", tenant="blue", capabilities=frozenset({"*"}))

Started = Callable[[], AbstractAsyncContextManager[Kernel]]


@pytest.fixture
def started(tmp_path: Path, model_store: ModelStore, default_model: StoredModel) -> Started:
    """`async with started()`: a kernel with a real engine process, always in the same folders."""
    assert default_model.kind == "causal"

    @asynccontextmanager
    async def start() -> AsyncIterator[Kernel]:
        config = load_config(
            environ={"LINGOS_HOME": str(tmp_path)},
            overrides={
                "plugins.load": (),
                "engine.threads": 1,
                "engine.kv_bytes": 256 << 20,
                "engine.disk_kv_bytes": 64 << 20,
            },
        )
        kernel = Kernel(config, store=model_store)
        await kernel.start()
        try:
            yield kernel
        finally:
            await kernel.stop()

    return start


async def ask(kernel: Kernel, principal: Principal) -> dict[str, Any]:
    """The greedy answer to the long question."""
    call = kernel.submit(principal, "llm.chat", {"messages": QUESTION, "max_tokens": 12})
    result: dict[str, Any] = await call.result()
    return result


async def test_a_long_prompt_comes_from_the_disk_after_a_restart(started: Started) -> None:
    """Same tenant: all whole pages of the prompt, the same answer; another tenant: none."""
    async with started() as kernel:
        first = await ask(kernel, RED)
        assert first["usage"]["cached_tokens"] == 0
    async with started() as kernel:
        other = await ask(kernel, BLUE)
        assert other["usage"]["cached_tokens"] == 0
        again = await ask(kernel, RED)
        (disk,) = await kernel.call("mem.tiers")
    assert again["text"] == first["text"] == other["text"]
    whole = (again["usage"]["prompt_tokens"] - 1) // PAGE_SLOTS * PAGE_SLOTS
    assert whole > 200
    assert again["usage"]["cached_tokens"] == whole
    assert disk["name"] == "disk"
    assert disk["hit_tokens"] == whole


async def test_tenants_that_agreed_meet_on_the_disk_too(started: Started) -> None:
    """Both name the same share: one's prompt serves the other, also after a restart."""
    async with started() as kernel:
        first = await ask(kernel, replace(RED, prefix_share="house"))
    async with started() as kernel:
        again = await ask(kernel, replace(BLUE, prefix_share="house"))
    assert again["text"] == first["text"]
    assert again["usage"]["cached_tokens"] > 200


async def test_a_folder_that_cannot_be_used_stops_nobody(started: Started, tmp_path: Path) -> None:
    """The tier is off and says why; the kernel answers."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kv").write_text("a file in the folder's place")
    async with started() as kernel:
        answer = await ask(kernel, RED)
        (disk,) = await kernel.call("mem.tiers")
    assert answer["usage"]["output_tokens"] > 0
    assert "exists" in disk["off_reason"]
    assert disk["pages"] == 0
