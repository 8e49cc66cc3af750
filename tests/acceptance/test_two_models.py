"""Two models under a budget for one: a real engine process, the default model and a tiny one."""

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
from lingos_kernel.errors import OutOfMemory
from lingos_kernel.kernel import Kernel
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.syscalls.call import Call
from lingos_kernel.telemetry.snapshot import ModelRow

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

MIB = 2**20
SETTINGS = {
    "engine.memory_bytes": 720 * MIB,  # 621 MiB of weights and one KV pool, but not two pools
    "engine.kv_bytes": 64 * MIB,
    "engine.threads": 1,
    "models.default": "large",
}
QUESTION = "Name three rivers of Europe and where they end."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(
    tmp_path_factory: pytest.TempPathFactory, default_model: StoredModel, tiny_llama: Path
) -> AsyncIterator[Kernel]:
    """A kernel with both models in a store of its own."""
    home = tmp_path_factory.mktemp("home")
    store = ModelStore(home / "models")
    store.pull(str(default_model.path), alias="large")
    store.pull(str(tiny_llama), alias="small")
    environ = {"LINGOS_HOME": str(home), "LINGOS_LOAD_PLUGINS": ""}
    made = Kernel(load_config(environ=environ, overrides=SETTINGS), store=store)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


class Bench:
    """Calls on a kernel, and what its snapshot says."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.principal = kernel.processes.get(1).principal

    def start(self, model: str, tokens: int) -> tuple[Call, int]:
        """Begin an answer from a process of its own."""
        pid = self.kernel.processes.open(self.principal, f"ask {model}").pid
        arguments = {"prompt": QUESTION, "model": model, "max_tokens": tokens, "ignore_eos": True}
        return self.kernel.submit(self.principal, "llm.complete", arguments, pid=pid), pid

    async def answer(self, model: str, tokens: int) -> dict[str, Any]:
        """A whole answer."""
        call, _ = self.start(model, tokens)
        result: dict[str, Any] = await call.result()
        return result

    async def row(self, model: str) -> ModelRow:
        """What the snapshot says of a model."""
        name = self.kernel.store.resolve(model).name
        return next(row for row in (await self.kernel.snapshot()).models if row.name == name)

    async def until(self, model: str, condition: Callable[[ModelRow], bool]) -> ModelRow:
        """Wait until something is so; each look takes a turn of the loop and a bit of a thread."""
        while not condition(row := await self.row(model)):
            await asyncio.sleep(0)
        return row


@pytest.fixture
def bench(kernel: Kernel) -> Bench:
    """A bench on the kernel."""
    return Bench(kernel)


async def test_a_request_for_another_model_queues_until_the_first_has_answered(
    bench: Bench,
) -> None:
    """It is seen waiting; the answer that runs is not disturbed; then the models change places."""
    alone = await bench.answer("large", 60)
    long, _ = bench.start("large", 60)
    await bench.until("large", lambda row: row.running > 0)
    short, pid = bench.start("small", 8)
    row = await bench.until("small", lambda row: row.state == "waiting")
    assert "MiB needed" in row.why
    assert "busy" in row.why
    picture = await bench.kernel.snapshot()
    assert next(p.state for p in picture.processes if p.pid == pid) == "waiting"
    assert picture.devices[0].budget_bytes == 720 * MIB
    assert (await long.result())["text"] == alone["text"]
    answer = await short.result()
    assert answer["usage"]["output_tokens"] == 8
    assert answer["usage"]["queue_s"] > 0
    assert (await bench.row("large")).state == "stored"
    assert (await bench.row("small")).state == "ready"


async def test_a_stopped_answer_gives_its_room_away_and_ends_the_same(bench: Bench) -> None:
    """Another model answers meanwhile; continued, it is as if nothing had been."""
    alone = await bench.answer("large", 40)
    long, pid = bench.start("large", 40)
    await bench.until("large", lambda row: row.running > 0)
    await bench.kernel.call("proc.kill", pid=pid, signal="STOP")
    assert (await bench.answer("small", 8))["usage"]["output_tokens"] == 8
    assert (await bench.row("large")).state == "stored"
    picture = await bench.kernel.snapshot()
    assert next(p.state for p in picture.processes if p.pid == pid) == "stopped"
    await bench.kernel.call("proc.kill", pid=pid, signal="CONT")
    answer = await long.result()
    assert answer["text"] == alone["text"]
    assert answer["usage"]["output_tokens"] == 40
    assert (await bench.row("small")).state == "stored"


async def test_after_kill_9_the_models_are_back_and_who_waited_is_served(bench: Bench) -> None:
    """The same answer to the end, then the other model."""
    alone = await bench.answer("large", 40)
    long, _ = bench.start("large", 40)
    await bench.until("large", lambda row: row.running > 0)
    short, _ = bench.start("small", 4)
    await bench.until("small", lambda row: row.state == "waiting")
    restarts = bench.kernel.engine.restarts
    assert bench.kernel.engine.os_pid
    os.kill(bench.kernel.engine.os_pid, signal.SIGKILL)
    assert (await long.result())["text"] == alone["text"]
    assert (await short.result())["usage"]["output_tokens"] == 4
    assert bench.kernel.engine.restarts == restarts + 1


async def test_beside_a_pinned_model_there_is_no_room(bench: Bench) -> None:
    """The other request fails at once, with the sums; unpinned, it is served."""
    await bench.kernel.call("model.pin", name="large")
    with pytest.raises(
        OutOfMemory, match=r"needs 64\.\d MiB at least, and the budget M is 720\.0 MiB, of which"
    ):
        await bench.answer("small", 4)
    await bench.kernel.call("model.unpin", name="large")
    assert (await bench.answer("small", 4))["usage"]["output_tokens"] == 4


async def test_a_request_that_can_never_fit_is_refused_with_the_sums(bench: Bench) -> None:
    """Pages needed, pages that exist, and what to change."""
    with pytest.raises(OutOfMemory, match=r"output tokens need \d+ pages .* the pool has 91") as at:
        await bench.answer("large", 6_000)
    assert "lower max_tokens" in at.value.hint
    assert "engine.kv_bytes" in at.value.hint
