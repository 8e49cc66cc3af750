"""`job.*`: jobs that are done once, through failures, cancels and restarts of the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    ConfirmationRequired,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    UnknownJob,
    UnknownSyscall,
    UsageError,
)
from lingos_kernel.hookspecs import Register, hookimpl
from lingos_kernel.kernel import Kernel
from lingos_kernel.queue.jobs import Backoff
from lingos_kernel.queue.sqlite_broker import SqliteBroker
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.spec import Context, syscall
from lingos_kernel.testing import ScriptedEngine
from lingos_kernel.testing.scripted_kernel import scripted_config, scripted_store

ANN = Principal("ann", "a", frozenset({"job.*", "work.*"}))
BOB = Principal("bob", "a", frozenset({"job.*"}))


class Work:
    """Syscalls whose ends the test decides; kept over kernels, as the outside world is."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.gate = asyncio.Event()
        self.errors: list[Exception] = []
        self.arrived = asyncio.Event()

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Register them."""
        register.add(self.quick)
        register.add(self.slow)
        register.add(self.confirmed)

    @syscall("work.quick", cost="io", capability="work.quick")
    async def quick(self, context: Context, value: int = 0) -> dict[str, Any]:
        """Fail as told, else answer at once."""
        self.begun.append(value)
        if self.errors:
            raise self.errors.pop(0)
        return {"value": value, "by": context.principal.name, "pid": context.pid}

    @syscall("work.slow", cost="io", capability="work.slow")
    async def slow(self, value: int = 0) -> int:
        """Wait until the test opens the gate."""
        self.begun.append(value)
        self.arrived.set()
        await self.gate.wait()
        return value

    @syscall("work.confirmed", cost="io", confirm=True)
    async def confirmed(self) -> str:
        """Want a yes."""
        return "yes"


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes kernels one after another on the same folder."""

    @asynccontextmanager
    async def make(work: Work, **settings: Any) -> AsyncIterator[Kernel]:
        changed = {key.replace("__", "."): value for key, value in settings.items()}
        config = scripted_config(tmp_path, settings=changed)
        store = await asyncio.to_thread(scripted_store, config.models.store)
        broker = SqliteBroker(
            config.paths.data_dir / "jobs.db", backoff=Backoff(base_s=0.0, limit_s=0.0)
        )
        kernel = Kernel(config, engine=ScriptedEngine(), store=store, broker=broker)
        kernel.plugins.register(work, "work")
        await kernel.start()
        try:
            yield kernel
        finally:
            await kernel.stop()

    return make


async def call(kernel: Kernel, name: str, by: Principal = ANN, **arguments: Any) -> Any:
    """The result of a call from outside."""
    return await kernel.submit(by, name, arguments).result()


async def submit(kernel: Kernel, name: str, **arguments: Any) -> str:
    """The id of a new job of Ann's."""
    return str((await call(kernel, "job.submit", syscall=name, **arguments))["job_id"])


async def test_a_job_is_done_as_its_submitter(make: Any) -> None:
    """It runs as a process of its own under the submitter's name, and its result is kept."""
    work = Work()
    async with make(work) as kernel:
        job_id = await submit(kernel, "work.quick", arguments={"value": 7})
        result = await call(kernel, "job.result", job_id=job_id)
        assert (result["value"], result["by"]) == (7, "ann")
        assert await call(kernel, "job.result", job_id=job_id, wait_s=0) == result
        shown = await call(kernel, "job.show", job_id=job_id)
        assert (shown["state"], shown["attempts"], shown["syscall"]) == ("done", 1, "work.quick")
        assert kernel.processes.find(result["pid"]).kind == "job"
        assert kernel.processes.find(result["pid"]).ended_why == "done"


async def test_what_would_fail_is_refused_at_once(make: Any) -> None:
    """An unknown syscall, one that the caller may not call, wrong arguments, a missing yes."""
    async with make(Work()) as kernel:
        with pytest.raises(UnknownSyscall):
            await submit(kernel, "work.quik")
        with pytest.raises(NotPermitted, match=r"may not call llm\.chat"):
            await submit(kernel, "llm.chat")
        with pytest.raises(InvalidArguments, match="value"):
            await submit(kernel, "work.quick", arguments={"value": "x"})
        with pytest.raises(ConfirmationRequired):
            await submit(kernel, "work.confirmed")
        confirmed = kernel.submit(ANN, "job.submit", {"syscall": "work.confirmed"}, confirmed=True)
        job_id = (await confirmed.result())["job_id"]
        assert await call(kernel, "job.result", job_id=job_id) == "yes"
        with pytest.raises(NotPermitted, match="more urgent"):
            await submit(kernel, "work.quick", priority=-1)


async def test_failures_that_may_pass_are_tried_again(make: Any) -> None:
    """A fault is retried until it works; a usage error is not; the last attempt's error stays."""
    work = Work()
    async with make(work) as kernel:
        work.errors = [RuntimeError("flaky"), RuntimeError("flaky")]
        job_id = await submit(kernel, "work.quick")
        await call(kernel, "job.result", job_id=job_id)
        assert (await call(kernel, "job.show", job_id=job_id))["attempts"] == 3
        work.errors = [UsageError("never")]
        job_id = await submit(kernel, "work.quick")
        with pytest.raises(UsageError, match="never"):
            await call(kernel, "job.result", job_id=job_id)
        assert (await call(kernel, "job.show", job_id=job_id))["attempts"] == 1
        work.errors = [RuntimeError("broken")] * 2
        job_id = await submit(kernel, "work.quick", max_attempts=2)
        with pytest.raises(LingOSError, match="broken"):
            await call(kernel, "job.result", job_id=job_id)
        assert not work.errors
        failed = await call(kernel, "job.list", state="failed")
        assert [row["error"]["code"] for row in failed] == ["syscall_failed", "usage"]
        await call(kernel, "job.retry", job_id=job_id)
        assert (await call(kernel, "job.result", job_id=job_id))["value"] == 0


async def test_an_idempotency_key_is_one_job(make: Any) -> None:
    """The second submission is the first one's job, also when that is done; others have theirs."""
    work = Work()
    async with make(work) as kernel:
        first = await submit(kernel, "work.quick", idempotency_key="k")
        await call(kernel, "job.result", job_id=first)
        assert await submit(kernel, "work.quick", idempotency_key="k") == first
        other = await submit(kernel, "work.quick", idempotency_key="k", queue="other")
        assert other != first
        await call(kernel, "job.result", job_id=other)
        assert len(work.begun) == 2


async def test_cancel_ends_waiting_and_running_jobs(make: Any) -> None:
    """A cancelled job has no result, whatever its call does; one that ended stays as it is."""
    work = Work()
    async with make(work, queue__workers=1) as kernel:
        running = await submit(kernel, "work.slow")
        await work.arrived.wait()
        waiting = await submit(kernel, "work.quick", arguments={"value": 1})
        for job_id in (waiting, running):
            assert (await call(kernel, "job.cancel", job_id=job_id))["cancelled"]
            with pytest.raises(Cancelled):
                await call(kernel, "job.result", job_id=job_id)
            assert not (await call(kernel, "job.cancel", job_id=job_id))["cancelled"]
        last = await submit(kernel, "work.quick", arguments={"value": 2})
        await call(kernel, "job.result", job_id=last)
        assert work.begun == [0, 2]


async def test_killing_its_process_cancels_a_job(make: Any) -> None:
    """KILL and TERM of the job's process end the job."""
    work = Work()
    async with make(work) as kernel:
        job_id = await submit(kernel, "work.slow")
        await work.arrived.wait()
        pid = (await call(kernel, "job.show", job_id=job_id))["pid"]
        await kernel.call("proc.kill", pid=pid, signal="KILL")
        with pytest.raises(Cancelled):
            await call(kernel, "job.result", job_id=job_id)


async def test_waiting_has_an_end(make: Any) -> None:
    """A job that has not ended in time is told as a timeout; an unknown one at once."""
    work = Work()
    async with make(work) as kernel:
        job_id = await submit(kernel, "work.slow")
        for wait_s in (0, 0.01):
            with pytest.raises(CallTimeout, match="has not ended"):
                await call(kernel, "job.result", job_id=job_id, wait_s=wait_s)
        for unknown in ("999", "x"):
            with pytest.raises(UnknownJob):
                await call(kernel, "job.result", job_id=unknown)


async def test_whose_is_whose(make: Any) -> None:
    """Another principal neither sees nor touches a job; an administrator does."""
    async with make(Work()) as kernel:
        job_id = await submit(kernel, "work.quick")
        for name in ("job.show", "job.result", "job.cancel", "job.retry"):
            with pytest.raises(NotPermitted, match="belongs to ann"):
                await call(kernel, name, by=BOB, job_id=job_id)
        assert await call(kernel, "job.list", by=BOB) == []
        assert [row["job_id"] for row in await kernel.call("job.list")] == [job_id]


async def test_a_restart_begins_running_jobs_again(make: Any) -> None:
    """What was accepted is done by the next kernel; what was done is not done again."""
    work = Work()
    async with make(work, queue__workers=2) as kernel:
        done = await submit(kernel, "work.quick", arguments={"value": 1})
        await call(kernel, "job.result", job_id=done)
        running = await submit(kernel, "work.slow", arguments={"value": 2})
        await work.arrived.wait()
        later = await submit(kernel, "work.quick", arguments={"value": 3}, delay_s=0.05)
    work.gate.set()
    async with make(work) as kernel:
        assert await call(kernel, "job.result", job_id=running) == 2
        assert (await call(kernel, "job.show", job_id=running))["attempts"] == 1
        assert (await call(kernel, "job.result", job_id=later))["value"] == 3
        assert (await call(kernel, "job.result", job_id=done))["value"] == 1
    assert sorted(work.begun) == [1, 2, 2, 3]


TURNS = [
    ("llm.complete", {"prompt": " one", "max_tokens": 4}),
    ("llm.chat", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}),
    ("ctx.append", {"text": " more"}),
]


@pytest.mark.parametrize(("name", "arguments"), TURNS)
async def test_a_turn_is_added_once_when_the_job_is_begun_again(
    make: Any, name: str, arguments: dict[str, Any]
) -> None:
    """The kernel ends after the context was written and before the job's end was."""
    place = "name" if name.startswith("ctx") else "context"
    begin = {"messages": [{"role": "system", "content": "be"}]} if "chat" in name else {"text": "a"}
    async with make(Work()) as kernel:
        await kernel.call("ctx.create", name="c", **begin)
        written = asyncio.Event()

        async def never(*_: Any) -> bool:
            written.set()
            await asyncio.Event().wait()
            return True

        kernel.job_store.succeed = never
        ask = {**arguments, place: "c"}
        job_id = (await kernel.call("job.submit", syscall=name, arguments=ask))["job_id"]
        await written.wait()
        once = await kernel.call("ctx.show", name="c", token_ids=True)
    async with make(Work()) as kernel:
        result = await kernel.call("job.result", job_id=job_id)
        again = await kernel.call("ctx.show", name="c", token_ids=True)
        assert again["token_ids"] == once["token_ids"]
        assert result.get("context", result) == {"name": "c", "tokens": len(again["token_ids"])}
        await kernel.call("job.submit", syscall=name, arguments=ask, idempotency_key="2")
        second = await kernel.call("job.list", limit=1)
        await kernel.call("job.result", job_id=second[0]["job_id"])
        assert (await kernel.call("ctx.show", name="c"))["tokens"] > again["tokens"]


async def test_a_stopped_job_stays_stopped_over_a_restart(make: Any) -> None:
    """A held job takes no slot, is held again by the next kernel, and goes on with CONT."""
    work = Work()
    async with make(work, queue__workers=1) as kernel:
        job_id = await submit(kernel, "work.slow", arguments={"value": 5})
        await work.arrived.wait()
        pid = (await call(kernel, "job.show", job_id=job_id))["pid"]
        await kernel.call("proc.kill", pid=pid, signal="STOP")
        other = await submit(kernel, "work.quick")
        await call(kernel, "job.result", job_id=other)
    work.gate.set()
    async with make(work, queue__workers=1) as kernel:
        while (shown := await call(kernel, "job.show", job_id=job_id))["pid"] is None:
            pass
        assert shown["stopped"]
        assert kernel.processes.get(shown["pid"]).state == "stopped"
        assert work.begun.count(5) == 1
        await kernel.call("proc.kill", pid=shown["pid"], signal="CONT")
        assert await call(kernel, "job.result", job_id=job_id) == 5


async def test_a_kernel_beside_another_leaves_the_jobs_to_it(make: Any) -> None:
    """Only one of the kernels on a folder runs jobs; the other one submits and gets results."""
    work, idle = Work(), Work()
    async with make(work) as leader, make(idle) as other:
        job_id = await submit(other, "work.quick", arguments={"value": 4})
        assert (await call(other, "job.result", job_id=job_id))["value"] == 4
        assert (work.begun, idle.begun) == ([4], [])
        assert leader.leadership.is_held
        assert not other.leadership.is_held


async def test_job_limits_are_the_submitters(make: Any) -> None:
    """A job is a child of the submitter's process and keeps to what that may still use."""
    work = Work()
    async with make(work) as kernel:
        top = kernel.processes.open(ANN, "agent", kind="agent")
        kernel.processes.limit(top.pid, kernel.processes.get(1).limits, by=ANN)
        given = kernel.submit(ANN, "job.submit", {"syscall": "work.slow"}, pid=top.pid)
        job_id = (await given.result())["job_id"]
        await work.arrived.wait()
        pid = (await call(kernel, "job.show", job_id=job_id))["pid"]
        assert kernel.processes.get(pid).parent == top.pid
        kernel.processes.close(top.pid)
        assert kernel.processes.get(pid).parent == 1
        work.gate.set()
        assert await call(kernel, "job.result", job_id=job_id) == 0


async def test_a_job_that_nobody_began_in_time_fails(make: Any) -> None:
    """Its expiry is told as its error."""
    work = Work()
    async with make(work, queue__workers=0) as kernel:
        job_id = await submit(kernel, "work.quick", expires_s=0.0)
    async with make(work) as kernel:
        with pytest.raises(LingOSError, match="expired"):
            await call(kernel, "job.result", job_id=job_id)
    assert work.begun == []


async def test_foreign_messages_harm_nobody(make: Any) -> None:
    """The queues of jobs are not open to `mq.put`; what gets in all the same is thrown away."""
    work = Work()
    async with make(work) as kernel:
        for shared in (False, True):
            name = {"queue": "syscall:default", "shared": shared}
            await kernel.call("mq.put", **name, payload={"number": 1, "round": 0})
            assert await kernel.call("mq.dead", **name) == []
            (job,) = await kernel.call("mq.claim", queues=[name["queue"]], shared=shared)
            assert (await kernel.call("mq.acknowledge", job=job))["held"]
        await kernel.broker.put("syscall:default", b"junk")
        await kernel.broker.put("syscall:default", b'{"number": 99, "round": 0}')
        job_id = await submit(kernel, "work.quick")
        await call(kernel, "job.result", job_id=job_id)
        while await kernel.broker.stats():
            await asyncio.sleep(0)
