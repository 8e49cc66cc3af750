"""The runner over a broker in memory: claims are kept, ends are recorded once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import Busy, Cancelled, DiskFull, QueueFull
from lingos_kernel.processes import ProcessTable, job_runner
from lingos_kernel.processes.job_desk import JobDesk
from lingos_kernel.processes.job_runner import JobRunner
from lingos_kernel.processes.job_store import JobStore
from lingos_kernel.processes.jobs import JobRequest
from lingos_kernel.processes.leadership import Leadership
from lingos_kernel.queue.jobs import Backoff, Job
from lingos_kernel.queue.memory_broker import MemoryBroker
from lingos_kernel.security.principal import Principal, owner

ME = owner("me")


class FakeCall:
    """A call that ends when the test says so."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def result(self) -> Any:
        """Its result."""
        return await asyncio.shield(self.ended)

    def cancel(self, reason: str = "") -> None:
        """End it."""
        if not self.ended.done():
            self.ended.set_exception(Cancelled(reason))
            self.ended.exception()


class Room:
    """A runner with what it needs, and the calls that it made."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.calls: list[FakeCall] = []
        self.called = asyncio.Event()
        self.store = JobStore(folder / "records.db")
        self.broker = Watched(backoff=Backoff(base_s=0.0, limit_s=0.0))
        self.processes = ProcessTable(ME, clock=lambda: 0.0)
        self.desk = JobDesk(self.store, self.broker)
        self.runner = JobRunner(
            self.store,
            self.desk,
            self.broker,
            self.processes,
            self.submit,
            leadership=Leadership(folder / "lock"),
            worker="kernel",
            workers=2,
            **settings,
        )

    def submit(
        self,
        principal: Principal | None,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        pid: int | None = None,
        confirmed: bool | None = None,
    ) -> FakeCall:
        """As the dispatcher's."""
        self.calls.append(FakeCall())
        self.called.set()
        return self.calls[-1]

    async def next_call(self) -> FakeCall:
        """The call of the next attempt."""
        await self.called.wait()
        self.called.clear()
        return self.calls[-1]


class Watched(MemoryBroker):
    """Counts extensions, and fails as told."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.extended = 0
        self.on_extend: Callable[[], None] = lambda: None
        self.error: Exception | None = None

    async def extend(self, job: Job, visibility_s: float) -> bool:
        """See `Broker`."""
        self.extended += 1
        self.on_extend()
        return await super().extend(job, visibility_s)

    async def put_many(self, jobs: Any) -> list[str]:
        """See `Broker`."""
        if self.error:
            raise self.error
        return await super().put_many(jobs)


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[Room]:
    """A room whose runner runs."""
    room = Room(folder, **settings)
    room.runner.start()
    try:
        yield room
    finally:
        await room.runner.stop()
        await room.store.close()
        await room.broker.close()


async def test_a_long_job_keeps_its_claim(tmp_path: Path) -> None:
    """The visibility is extended for as long as the call runs; nobody else begins it."""
    async with running(tmp_path, visibility_s=0.03) as room:
        record = await room.desk.submit(JobRequest(ME, "x", {}))
        call = await room.next_call()
        extended_often = asyncio.Event()
        room.broker.on_extend = lambda: extended_often.set() if room.broker.extended > 9 else None
        await extended_often.wait()
        call.ended.set_result(5)
        ended = await room.desk.wait(str(record.number), ME, timeout_s=None)
        assert (ended.result, ended.attempts, len(room.calls)) == (b"5", 1, 1)


async def test_an_attempt_that_no_longer_counts_is_ended(tmp_path: Path) -> None:
    """A job that another kernel called off is cancelled here, and records nothing."""
    async with running(tmp_path, visibility_s=0.03) as room:
        record = await room.desk.submit(JobRequest(ME, "x", {}))
        call = await room.next_call()
        assert await room.store.cancel(record.number)
        with pytest.raises(Cancelled):
            await call.result()
        ended = await room.desk.wait(str(record.number), ME, timeout_s=None)
        assert (ended.state, ended.error) == ("cancelled", b"")


async def test_retries_come_with_the_last_error(tmp_path: Path) -> None:
    """While it is tried again the record tells why; the process of each attempt ends."""
    async with running(tmp_path) as room:
        record = await room.desk.submit(JobRequest(ME, "x", {}, max_attempts=2))
        for _ in range(2):
            (await room.next_call()).ended.set_exception(Busy("later"))
        ended = await room.desk.wait(str(record.number), ME, timeout_s=None)
        assert (ended.state, ended.attempts) == ("failed", 2)
        assert b"later" in ended.error
        whys = [p.ended_why for p in room.processes.processes(ended=True) if p.kind == "job"]
        assert whys == ["retry: later", "failed: later"]


async def test_a_full_queue_accepts_nothing(tmp_path: Path) -> None:
    """A job without a place in the broker leaves no record behind."""
    async with running(tmp_path) as room:
        room.broker.error = QueueFull("full", retry_after_s=1.0)
        with pytest.raises(QueueFull):
            await room.desk.submit(JobRequest(ME, "x", {}, idempotency_key="k"))
        assert await room.store.newest() == []
        room.broker.error = None
        await room.desk.submit(JobRequest(ME, "x", {}, idempotency_key="k"))


async def test_what_was_accepted_last_is_not_lost(tmp_path: Path) -> None:
    """A kernel died between the record and the broker: the next one queues what it finds."""
    store = JobStore(tmp_path / "records.db")
    record, _ = await store.add(JobRequest(ME, "x", {}))
    await store.close()
    async with running(tmp_path) as room:
        (await room.next_call()).ended.set_result(1)
        ended = await room.desk.wait(str(record.number), ME, timeout_s=None)
        assert ended.state == "done"


@pytest.mark.parametrize("where", ["begin", "succeed", "acknowledge"])
async def test_a_disk_that_is_full_undoes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """What happened is written down once there is room again; the work is not done twice."""
    monkeypatch.setattr(job_runner, "LOOK_AGAIN_S", 0.0)
    async with running(tmp_path) as room:
        owner_of = room.broker if where == "acknowledge" else room.store
        real, failures = getattr(owner_of, where), [DiskFull("full"), Busy("held")]

        async def write(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return await real(*arguments)

        monkeypatch.setattr(owner_of, where, write)
        record = await room.desk.submit(JobRequest(ME, "x", {}))
        (await room.next_call()).ended.set_result(5)
        ended = await room.desk.wait(str(record.number), ME, timeout_s=None)
        assert (ended.state, ended.result, ended.attempts) == ("done", b"5", 1)
        while await room.broker.stats():
            await asyncio.sleep(0)
        assert (len(room.calls), failures) == (1, [])


async def test_a_store_that_fails_at_the_start_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier kernel left is taken up as soon as the store can be read."""
    monkeypatch.setattr("lingos_kernel.processes.job_runner.LOOK_AGAIN_S", 0.01)
    store = JobStore(tmp_path / "records.db")
    record, _ = await store.add(JobRequest(ME, "x", {}))
    await store.close()
    room = Room(tmp_path)
    real, failures = room.store.recover, [DiskFull("full"), DiskFull("full")]

    async def recover() -> int:
        if failures:
            raise failures.pop()
        return await real()

    monkeypatch.setattr(room.store, "recover", recover)
    room.runner.start()
    (await room.next_call()).ended.set_result(1)
    assert (await room.desk.wait(str(record.number), ME, timeout_s=None)).state == "done"
    await room.runner.stop()
    await room.store.close()
    await room.broker.close()
