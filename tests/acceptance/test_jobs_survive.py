"""Jobs that were accepted are done, once, whatever happens to the kernel meanwhile."""

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
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.server import daemon

pytestmark = pytest.mark.slow

WAIT_S = 120.0
JOBS = 60
KILLS = 4


@pytest.fixture
def config(model_store: ModelStore) -> Iterator[Config]:
    """The settings of a kernel in a folder of its own, with the session's models."""
    with tempfile.TemporaryDirectory(prefix="lingos-") as home:
        config = load_config(
            environ={"LINGOS_HOME": home},
            overrides={
                "plugins.load": (),
                "models.store": model_store.root,
                "engine.threads": 1,
                "queue.workers": 2,
            },
        )
        yield config
        daemon.stop(config)


async def kill(config: Config) -> None:
    """End the kernel with kill -9, and wait until it is gone."""
    pid = (await asyncio.to_thread(daemon.status, config)).os_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        assert await asyncio.to_thread(daemon.has_ended, pid, WAIT_S)


async def ended(client: HttpClient) -> list[Any]:
    """The jobs that are done."""
    rows: list[Any] = await client.call("job.list", state="done", limit=1000)
    return rows


async def test_accepted_jobs_survive_kill_9_many_times(config: Config) -> None:
    """The kernel is killed again and again while it works; each job ends once, none is lost."""
    await asyncio.to_thread(daemon.start, config)
    accepted: list[str] = []
    async with HttpClient(config.kernel.socket) as client:
        for round_ in range(KILLS):
            for number in range(JOBS // KILLS):
                value = round_ * JOBS // KILLS + number
                put = {"queue": "effects", "payload": value, "idempotency_key": f"effect-{value}"}
                job = await client.call(
                    "job.submit", syscall="mq.put", arguments=put, max_attempts=50
                )
                accepted.append(job["job_id"])
            async with asyncio.timeout(WAIT_S):
                while len(await ended(client)) < round_ * JOBS // KILLS + 3:
                    pass
            await kill(config)
            await asyncio.to_thread(daemon.start, config)
        assert len(set(accepted)) == len(accepted) == JOBS
        results = [await client.call("job.result", job_id=job_id) for job_id in accepted]
        rows = {row["job_id"]: row for row in await ended(client)}
        claimed = await client.call("mq.claim", queues=["effects"], limit=1000)
    assert all(result["queue"] == "effects" for result in results)
    assert sorted(rows, key=int) == accepted
    assert sorted(job["payload"] for job in claimed) == list(range(JOBS))


async def test_generation_goes_on_after_kill_9(config: Config, default_model: StoredModel) -> None:
    """A job in the middle of its answer is begun again; its one result is the undisturbed one."""
    ask = {"prompt": "Once upon a time", "max_tokens": 48, "ignore_eos": True}
    await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        undisturbed = await client.call("llm.complete", **ask)
        job = await client.call("job.submit", syscall="llm.complete", arguments=ask)
        for _ in range(2):
            async with asyncio.timeout(WAIT_S):
                while not any(
                    row["output_tokens"] and row["state"] == "decode"
                    for row in (await client.call("sys.snapshot"))["sequences"]
                ):
                    pass
            await kill(config)
            await asyncio.to_thread(daemon.start, config)
        result = await client.call("job.result", job_id=job["job_id"], wait_s=WAIT_S)
        shown = await client.call("job.show", job_id=job["job_id"])
    assert result["text"] == undisturbed["text"]
    assert shown["state"] == "done"
    assert shown["attempts"] == 3


async def test_a_stopped_job_survives_kill_9(config: Config, default_model: StoredModel) -> None:
    """A suspended job is suspended after the restart too, and goes on when it is told to."""
    ask = {"prompt": "Once upon a time", "max_tokens": 32, "ignore_eos": True}
    await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        job_id = (await client.call("job.submit", syscall="llm.complete", arguments=ask))["job_id"]

        async def pid() -> Any:
            async with asyncio.timeout(WAIT_S):
                while not (shown := await client.call("job.show", job_id=job_id))["pid"]:
                    assert shown["state"] in ("waiting", "running")
            return shown["pid"]

        await client.call("proc.kill", pid=await pid(), signal="STOP")
        async with asyncio.timeout(WAIT_S):
            while not (await client.call("job.show", job_id=job_id))["stopped"]:
                pass
        await kill(config)
        await asyncio.to_thread(daemon.start, config)
        again = await pid()
        assert (await client.call("proc.show", pid=again))["state"] == "stopped"
        await client.call("proc.kill", pid=again, signal="CONT")
        result = await client.call("job.result", job_id=job_id, wait_s=WAIT_S)
        assert result["usage"]["output_tokens"] == 32


async def test_suspended_sessions_survive_kill_9(config: Config) -> None:
    """A process that was opened and stopped is there after the restart, under its pid."""
    await asyncio.to_thread(daemon.start, config)
    async with HttpClient(config.kernel.socket) as client:
        top = (await client.call("proc.open", command="agent", kind="agent"))["pid"]
        low = (await client.call("proc.open", command="step", parent=top))["pid"]
        await client.call("proc.limit", pid=low, tokens=5)
        await client.call("proc.kill", pid=low, signal="STOP")
        await kill(config)
        await asyncio.to_thread(daemon.start, config)
        shown = await client.call("proc.show", pid=low)
        assert (shown["state"], shown["parent"], shown["program"]) == ("stopped", top, top)
        assert shown["limits"]["tokens"] == 5
        await client.call("proc.kill", pid=low, signal="CONT")
        assert (await client.call("proc.show", pid=low))["state"] == "idle"
