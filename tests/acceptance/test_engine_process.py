"""The engine process with the real default model: its start, and its death in mid-generation."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from msgspec.structs import replace

from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.messages import Generate, ModelSpec, SamplingParams, SequenceOutput
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.transport import PipeTransport
from lingos_kernel.models.text_codec import TextCodec

if TYPE_CHECKING:
    from lingos_kernel.models.store import StoredModel

pytestmark = [pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

QUESTION = [{"role": "user", "content": "Name three rivers of Europe and where they end."}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(default_model: StoredModel) -> AsyncIterator[EngineHost]:
    """An engine process with the default model, and how long it took to get there."""
    host = EngineHost(PipeTransport(EngineSettings(device="cpu", kv_bytes=64 << 20)))
    started_s = time.monotonic()
    await host.start()
    up_s = time.monotonic() - started_s
    loaded = await host.load(ModelSpec(name="default", path=str(default_model.path)))
    ready_s = time.monotonic() - started_s
    print(
        f"\nengine up after {up_s:.2f} s, model ready after {ready_s:.2f} s"
        f" (of which the load itself {loaded.load_s:.2f} s)"
    )
    yield host
    await host.stop()


def request(codec: TextCodec, request_id: str, params: SamplingParams) -> Generate:
    """The question as a request."""
    return Generate(request_id, "default", tuple(codec.encode_chat(QUESTION)), params)


async def read(
    host: EngineHost, asked: Generate, *, kill_after_tokens: int | None = None
) -> tuple[list[int], str, list[str]]:
    """Tokens, text and finish reasons of a request, its engine killed in the middle if so asked."""
    outputs: list[SequenceOutput] = []
    count = 0
    async for output in host.generate(asked):
        outputs.append(output)
        count += len(output.token_ids)
        if kill_after_tokens is not None and count >= kill_after_tokens:
            kill_after_tokens = None
            assert host.os_pid
            os.kill(host.os_pid, signal.SIGKILL)
    return (
        [token for output in outputs for token in output.token_ids],
        "".join(output.text for output in outputs),
        [output.finish_reason for output in outputs if output.finish_reason],
    )


@pytest.mark.parametrize(
    "params",
    [SamplingParams(max_tokens=40), SamplingParams(max_tokens=40, temperature=0.8, seed=5)],
    ids=["greedy", "seeded"],
)
async def test_kill_in_mid_generation(
    host: EngineHost, default_model: StoredModel, params: SamplingParams
) -> None:
    """After kill -9 in mid-answer the stream goes on to exactly the same answer."""
    codec = TextCodec.load(default_model.path)
    whole = request(codec, f"whole-{params.seed}", params)
    undisturbed = await read(host, whole)
    restarts = host.restarts
    killed = await read(
        host, replace(whole, request_id=f"killed-{params.seed}"), kill_after_tokens=6
    )
    assert killed == undisturbed
    assert len(killed[0]) > 6
    assert host.restarts == restarts + 1
