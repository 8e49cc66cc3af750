"""One suite for all brokers: in memory, in SQLite, in a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.errors import Cancelled, InvalidArguments, QueueFull
from lingos_kernel.queue.broker import Broker, open_broker
from lingos_kernel.queue.jobs import Backoff, Job, NewJob
from lingos_kernel.queue.memory_broker import MemoryBroker
from lingos_kernel.queue.names import QueueName
from lingos_kernel.queue.redis_broker import RedisBroker
from lingos_kernel.queue.sqlite_broker import SqliteBroker

LIMIT_S = 20.0
"""Longest wait for an event that must come."""

Make = Callable[..., Broker]


class FakeClock:
    """Unix time that moves only when told."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        """Let time pass, or jump back."""
        self.now_s += seconds


@pytest.fixture
def clock() -> FakeClock:
    """The brokers' time in these tests."""
    return FakeClock()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis server of our own, on a socket in a temporary folder."""
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("redis-server is not installed (apt-get install redis-server)")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = f"{folder}/s"
        with subprocess.Popen(
            [server, "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "eady to accept connections" in line:
                    break
            try:
                yield f"unix://{socket}"
            finally:
                process.kill()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which broker."""
    return str(request.param)


@pytest.fixture
async def make(
    kind: str, clock: FakeClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Make]:
    """Makes brokers on one and the same store; each is closed after the test."""
    made: list[Broker] = []
    prefix = uuid.uuid4().hex

    def make_one(**options: object) -> Broker:
        options = {"clock": clock, "chance": lambda: 0.0, **options}
        broker: Broker
        if kind == "memory":
            broker = MemoryBroker(**options)  # type: ignore[arg-type]
        elif kind == "sqlite":
            broker = SqliteBroker(tmp_path / "jobs.db", **options)  # type: ignore[arg-type]
        else:
            url = request.getfixturevalue("redis_url")
            broker = RedisBroker(url, prefix=prefix, **options)  # type: ignore[arg-type]
        made.append(broker)
        return broker

    yield make_one
    for broker in made:
        await broker.close()


@pytest.fixture
def broker(make: Make) -> Broker:
    """An empty broker."""
    return make()


async def one(broker: Broker, worker: str = "w", queue: str = "q", **options: float) -> Job:
    """The only job that can be claimed now."""
    (job,) = await broker.claim([queue], worker, limit=10, **options)
    return job


async def counts(broker: Broker, queue: str = "q") -> tuple[int, int, int, int]:
    """Ready, delayed, claimed and dead jobs."""
    for stats in await broker.stats():
        if stats.queue == queue:
            return (stats.ready, stats.delayed, stats.claimed, stats.dead)
    return (0, 0, 0, 0)


async def test_a_job_is_put_claimed_and_acknowledged(broker: Broker, clock: FakeClock) -> None:
    """A worker gets the job as it was put; after the acknowledgement nothing is left."""
    payload = bytes(range(256))
    job_id = await broker.put("q", payload, priority=3, tenant="acme", max_attempts=7)
    job = await one(broker, "worker-1")
    assert (job.job_id, job.queue, job.payload) == (job_id, "q", payload)
    assert (job.priority, job.tenant, job.attempt, job.max_attempts) == (3, "acme", 1, 7)
    assert (job.worker, job.created_s) == ("worker-1", clock.now_s)
    assert await broker.acknowledge(job)
    assert not await broker.acknowledge(job), "a second time changes nothing"
    assert await broker.stats() == []


async def test_nothing_to_claim(broker: Broker) -> None:
    """Empty and unknown queues, no queues, no limit: no jobs."""
    await broker.put("other", b"")
    assert await broker.claim(["q", "r"], "w") == []
    assert await broker.claim([], "w") == []
    assert await broker.claim(["other"], "w", limit=0) == []


async def test_priority_goes_first_then_arrival(broker: Broker) -> None:
    """Lower numbers first, across the queues that are asked for; equals as they came."""
    for payload, queue, priority in [
        (b"4", "q", 5),
        (b"1", "r", -20),
        (b"5", "q", 5),
        (b"2", "q", 0),
        (b"3", "q", 0),
        (b"6", "r", 19),
    ]:
        await broker.put(queue, payload, priority=priority)
    order = [job.payload for _ in range(3) for job in await broker.claim(["q", "r"], "w", limit=2)]
    assert order == [b"1", b"2", b"3", b"4", b"5", b"6"]


async def test_priority_goes_first_over_a_thousand_queues(broker: Broker) -> None:
    """A claim may name as many queues as there are."""
    queues = [f"q'{number}" for number in range(1000)]
    await broker.put_many(
        [NewJob(queue, b"%d" % n, priority=n % 7) for n, queue in enumerate(queues[::3])]
    )
    jobs = await broker.claim(queues, "w", limit=100)
    assert [job.priority for job in jobs] == [0] * 48 + [1] * 48 + [2] * 4
    assert [int(job.payload) % 7 for job in jobs] == [job.priority for job in jobs]


async def test_no_two_workers_get_the_same_job(broker: Broker) -> None:
    """Many workers at once: each job is claimed by one and acknowledged once."""
    await broker.put_many([NewJob("q", b"%d" % n) for n in range(60)])
    done: list[bytes] = []

    async def work(worker: str) -> None:
        while jobs := await broker.claim(["q"], worker, limit=3):
            for job in jobs:
                assert await broker.acknowledge(job)
                done.append(job.payload)

    await asyncio.gather(*(work(f"w{n}") for n in range(5)))
    assert sorted(done, key=int) == [b"%d" % n for n in range(60)]


async def test_a_delayed_job_comes_when_it_is_due(broker: Broker, clock: FakeClock) -> None:
    """Not before its time."""
    await broker.put("q", b"", delay_s=10)
    assert await counts(broker) == (0, 1, 0, 0)
    clock.pass_s(9.9)
    assert await broker.claim(["q"], "w") == []
    clock.pass_s(0.2)
    assert (await one(broker)).attempt == 1


async def test_a_claim_is_lost_when_its_time_is_over(broker: Broker, clock: FakeClock) -> None:
    """Another worker gets the job, and the first one's late words change nothing."""
    await broker.put("q", b"")
    first = await one(broker, "slow", visibility_s=5)
    assert await broker.claim(["q"], "other") == []
    clock.pass_s(5.1)
    second = await one(broker, "other", visibility_s=5)
    assert (second.job_id, second.attempt) == (first.job_id, 2)
    assert not await broker.acknowledge(first)
    assert not await broker.extend(first, 100)
    assert await broker.fail(first, "too late") == "lost"
    assert await broker.acknowledge(second)


async def test_a_late_worker_may_still_acknowledge(broker: Broker, clock: FakeClock) -> None:
    """As long as nobody took the job over, work that is done counts."""
    await broker.put("q", b"")
    job = await one(broker, visibility_s=5)
    clock.pass_s(6)
    assert await broker.acknowledge(job)


async def test_extend_keeps_a_claim(broker: Broker, clock: FakeClock) -> None:
    """A worker that tells that it lives keeps its job."""
    await broker.put("q", b"")
    job = await one(broker, visibility_s=5)
    clock.pass_s(4)
    assert await broker.extend(job, 5)
    clock.pass_s(4)
    assert await broker.claim(["q"], "other") == []
    assert await broker.acknowledge(job)


async def test_a_lost_claim_on_the_last_attempt_is_a_dead_letter(
    broker: Broker, clock: FakeClock
) -> None:
    """A job that kills its workers does not come back for ever."""
    await broker.put("q", b"poison", max_attempts=2)
    for _ in range(2):
        await one(broker, "victim", visibility_s=1)
        clock.pass_s(2)
    assert await broker.claim(["q"], "w") == []
    (letter,) = await broker.dead("q")
    assert (letter.payload, letter.attempts) == (b"poison", 2)
    assert "worker victim did not finish attempt 2" in letter.error


async def test_a_failed_job_backs_off(make: Make, clock: FakeClock) -> None:
    """Attempt after attempt it waits longer, then it is a dead letter with the last error."""
    broker = make(backoff=Backoff(base_s=10, factor=3, limit_s=50))
    await broker.put("q", b"", max_attempts=4)
    for attempt, delay_s in enumerate([10, 30, 50], start=1):
        job = await one(broker)
        assert job.attempt == attempt
        assert await broker.fail(job, f"error {attempt}") == "retry"
        clock.pass_s(delay_s - 0.1)
        assert await broker.claim(["q"], "w") == []
        clock.pass_s(0.2)
    assert await broker.fail(await one(broker), "error 4") == "dead"
    (letter,) = await broker.dead("q")
    assert (letter.error, letter.attempts) == ("error 4", 4)


async def test_the_worker_may_choose_the_delay(broker: Broker, clock: FakeClock) -> None:
    """A retry-after of somebody else's goes before the back-off."""
    await broker.put("q", b"")
    assert await broker.fail(await one(broker), "busy", delay_s=0.5) == "retry"
    clock.pass_s(0.6)
    assert (await one(broker)).attempt == 2


async def test_dead_letters_can_be_requeued_or_purged(broker: Broker) -> None:
    """Requeued, a job has all its attempts again; purged, it is gone."""
    for payload in (b"a", b"b"):
        await broker.put("q", payload, max_attempts=1)
        assert await broker.fail(await one(broker), "no", retry=False) == "dead"
    old, _ = await broker.dead("q")
    assert [letter.payload for letter in await broker.dead("q", limit=1)] == [b"a"]
    assert await broker.requeue(old.job_id)
    assert not await broker.requeue(old.job_id)
    assert not await broker.requeue("no such job")
    job = await one(broker)
    assert (job.payload, job.attempt) == (b"a", 1)
    assert await broker.purge("q") == 1
    assert await broker.purge("q") == 0
    assert await broker.acknowledge(job)
    assert await broker.stats() == []


async def test_a_claim_from_before_a_requeue_is_void(broker: Broker, clock: FakeClock) -> None:
    """Attempts begin again at 1, but an old claim is not mistaken for the new one."""
    await broker.put("q", b"", max_attempts=1)
    old = await one(broker, visibility_s=1)
    clock.pass_s(2)
    (letter,) = await broker.dead("q")
    await broker.requeue(letter.job_id)
    new = await one(broker)
    assert old.attempt == new.attempt == 1
    assert not await broker.acknowledge(old)
    assert await broker.acknowledge(new)


async def test_an_idempotency_key_is_put_once(broker: Broker) -> None:
    """The same key is the same job: waiting, claimed, or done. Other tenants and queues differ."""
    first = await broker.put("q", b"first", idempotency_key="k", tenant="t")
    assert await broker.put("q", b"again", idempotency_key="k", tenant="t") == first
    job = await one(broker)
    assert await broker.put("q", b"again", idempotency_key="k", tenant="t") == first
    assert await broker.acknowledge(job)
    assert await broker.put("q", b"again", idempotency_key="k", tenant="t") == first
    assert await broker.claim(["q"], "w") == []
    others = [
        await broker.put("q", b"", idempotency_key="k", tenant="u"),
        await broker.put("r", b"", idempotency_key="k", tenant="t"),
        await broker.put("q", b"", idempotency_key="l", tenant="t"),
    ]
    assert len({first, *others}) == 4
    same = [NewJob("q", b"", idempotency_key="m")] * 2
    assert len(set(await broker.put_many(same))) == 1, "twice in one call, too"


TENANTS = ["", "a", "a:b", "a/b", "*", "ä"]


async def test_each_tenant_has_queues_of_its_own(broker: Broker) -> None:
    """One name and one key are as many queues and jobs as there are tenants, dead or alive."""
    names = {tenant: QueueName("q", tenant).in_broker for tenant in TENANTS}
    ids = {
        await broker.put(name, tenant.encode(), idempotency_key="k", tenant=tenant, max_attempts=1)
        for tenant, name in names.items()
    }
    assert len(ids) == len(TENANTS)
    for tenant, name in names.items():
        job = await one(broker, queue=name)
        assert (job.payload, job.tenant) == (tenant.encode(), tenant)
        assert await broker.claim([name], "w") == []
        assert await broker.fail(job, "no") == "dead"
    for tenant, name in names.items():
        (letter,) = await broker.dead(name)
        assert letter.payload == tenant.encode()
        for other in TENANTS:
            if other != tenant:
                assert not await broker.requeue(letter.job_id, tenant=other)
        assert await broker.requeue(letter.job_id, tenant=tenant)
        assert await broker.acknowledge(await one(broker, queue=name))


async def test_tenants_of_one_queue_have_keys_and_letters_of_their_own(broker: Broker) -> None:
    """Also when their names and keys, put together, read the same."""
    name = QueueName("q", is_shared=True).in_broker
    keys = [("a", "b:c"), ("a:b", "c"), ("", "a:b:c")]
    ids = [await broker.put(name, b"", tenant=t, idempotency_key=k) for t, k in keys]
    assert len(set(ids)) == len(keys)
    assert ids == [await broker.put(name, b"", tenant=t, idempotency_key=k) for t, k in keys]
    jobs = await broker.claim([name], "w", limit=9)
    assert sorted(job.tenant for job in jobs) == ["", "a", "a:b"]
    for job in jobs:
        assert await broker.fail(job, "no", retry=False) == "dead"
    assert len(await broker.dead(name)) == 3
    assert not await broker.requeue(ids[0], tenant="a:b")
    assert await broker.requeue(ids[0], tenant="a")
    assert await broker.requeue(ids[1])


async def test_an_idempotency_key_is_forgotten_in_time(make: Make, clock: FakeClock) -> None:
    """Some time after the job was done its key may be used again."""
    broker = make(key_retention_s=0.005)
    first = await broker.put("q", b"", idempotency_key="k")
    assert await broker.acknowledge(await one(broker))
    async with asyncio.timeout(LIMIT_S):
        while await broker.put("q", b"", idempotency_key="k") == first:
            clock.pass_s(2)
            assert await broker.claim(["q"], "w") == []
            await asyncio.sleep(0)


async def test_a_job_expires(broker: Broker, clock: FakeClock) -> None:
    """Nobody claimed it in time: a dead letter. A claimed one is past expiring."""
    await broker.put("q", b"late", expires_s=5)
    await broker.put("q", b"delayed", expires_s=5, delay_s=60)
    claimed_id = await broker.put("r", b"claimed", expires_s=5)
    claimed = await one(broker, queue="r")
    clock.pass_s(6)
    assert await broker.claim(["q"], "w") == []
    letters = await broker.dead("q")
    assert sorted(letter.payload for letter in letters) == [b"delayed", b"late"]
    assert {letter.error for letter in letters} == {"expired before anybody claimed it"}
    assert claimed.job_id == claimed_id
    assert await broker.acknowledge(claimed)
    assert await counts(broker) == (0, 0, 0, 2)
    await broker.requeue(letters[0].job_id)
    assert (await one(broker)).payload == letters[0].payload, "requeued for good"


async def test_a_queue_has_a_bound(make: Make) -> None:
    """A full queue refuses at once, naming itself; room comes when a job ends, in any way."""
    broker = make(bound=2)
    await broker.put_many([NewJob("q", b""), NewJob("q", b"")])
    with pytest.raises(QueueFull, match=r"'q' is full \(2 jobs\)") as caught:
        await broker.put("q", b"")
    assert caught.value.retry_after_s > 0
    await broker.put("another", b"")
    first, second = await broker.claim(["q"], "w", limit=2)
    with pytest.raises(QueueFull):
        await broker.put("q", b"")
    assert await broker.acknowledge(first)
    await broker.put("q", b"")
    assert await broker.fail(second, "no", retry=False) == "dead"
    await broker.put("q", b"")
    with pytest.raises(QueueFull):
        await broker.put("q", b"")
    await broker.requeue(second.job_id)
    with pytest.raises(QueueFull):
        await broker.put("q", b"")


async def test_a_tenant_has_a_bound_of_its_own(make: Make) -> None:
    """A tenant with its share used up is refused, and told so; the others have room."""
    broker = make(bound=5, tenant_bound=2)
    await broker.put_many([NewJob("q", b"", tenant="a"), NewJob("q", b"", tenant="a")])
    with pytest.raises(QueueFull, match="tenant 'a' has its 2 jobs in the job queue 'q'") as caught:
        await broker.put_many([NewJob("q", b"", tenant="b"), NewJob("q", b"", tenant="a")])
    assert caught.value.details["tenant"] == "a"
    assert caught.value.retry_after_s > 0
    await broker.put("another", b"", tenant="a")
    await broker.put_many([NewJob("q", b"", tenant="b"), NewJob("q", b"", tenant="b")])
    first, second = (await broker.claim(["q"], "w", limit=4))[:2]
    assert await broker.acknowledge(first)
    await broker.put("q", b"", tenant="a")
    assert await broker.fail(second, "no", retry=False) == "dead"
    await broker.put("q", b"", tenant="a")
    await broker.requeue(second.job_id)
    with pytest.raises(QueueFull):
        await broker.put("q", b"", tenant="a")


async def test_a_claim_is_its_workers_alone(broker: Broker) -> None:
    """Who only guesses the job's id and receipt can neither end nor extend another's claim."""
    await broker.put("q", b"", max_attempts=2)
    mine = await one(broker, "me")
    theirs = replace(mine, worker="another")
    assert not await broker.acknowledge(theirs)
    assert await broker.fail(theirs, "no", retry=False) == "lost"
    assert not await broker.extend(theirs, 60.0)
    assert await counts(broker) == (0, 0, 1, 0)
    assert await broker.acknowledge(mine)


async def test_put_many_is_all_or_nothing(make: Make) -> None:
    """One job too many, or a wrong one: none is put."""
    broker = make(bound=3)
    with pytest.raises(QueueFull):
        await broker.put_many([NewJob("r", b"")] + [NewJob("q", b"")] * 4)
    with pytest.raises(InvalidArguments):
        await broker.put_many([NewJob("q", b""), NewJob("q", b"", priority=20)])
    assert await broker.stats() == []
    assert len(set(await broker.put_many([NewJob("q", b"")] * 3))) == 3
    assert await broker.put_many([]) == []


@pytest.mark.parametrize(
    "wrong",
    [{"queue": ""}, {"priority": -21}, {"delay_s": -1.0}, {"max_attempts": 0}],
)
async def test_wrong_jobs_are_refused(broker: Broker, wrong: dict[str, object]) -> None:
    """The message says what is wrong."""
    arguments: dict[str, object] = {"queue": "q", "payload": b"", **wrong}
    with pytest.raises(InvalidArguments):
        await broker.put(**arguments)  # type: ignore[arg-type]


async def test_a_waiting_claim_wakes_with_a_put(broker: Broker) -> None:
    """A claim with wait_s returns as soon as there is a job, not after its whole wait."""
    async with asyncio.timeout(LIMIT_S):
        waiting = [
            asyncio.create_task(broker.claim(["q"], f"w{n}", wait_s=10 * LIMIT_S)) for n in range(2)
        ]
        await asyncio.sleep(0)
        for _ in range(2):
            await broker.put("q", b"")
        claimed = [job for jobs in await asyncio.gather(*waiting) for job in jobs]
    assert len({job.job_id for job in claimed}) == 2


async def test_a_waiting_claim_wakes_for_a_delayed_job(make: Make) -> None:
    """In real time: a delayed job reaches the claim that waits for it."""
    broker = make(clock=None)
    await broker.put("q", b"", delay_s=0.03)
    async with asyncio.timeout(LIMIT_S):
        assert len(await broker.claim(["q"], "w", wait_s=10 * LIMIT_S)) == 1


async def test_a_waiting_claim_ends_with_its_wait(broker: Broker) -> None:
    """Nothing came: no jobs, no error."""
    assert await broker.claim(["q"], "w", wait_s=0.01) == []


async def test_a_cancelled_claim_claims_nothing(broker: Broker) -> None:
    """Whenever it is cancelled, the job is there for the next worker, with all its attempts."""
    await broker.put("q", b"", max_attempts=100)
    claimed = 0
    for turns in range(8):
        claim = asyncio.create_task(broker.claim(["q"], "gone"))
        for _ in range(turns):
            await asyncio.sleep(0)
        claim.cancel()
        with suppress(asyncio.CancelledError):
            (job,) = await claim  # it was faster
            assert await broker.fail(job, "", delay_s=0.0) == "retry"
            claimed += 1
        (job,) = await broker.claim(["q"], "w", wait_s=LIMIT_S)
        claimed += 1
        assert job.attempt == claimed, "a cancelled claim counts as no attempt"
        assert await broker.fail(job, "", delay_s=0.0) == "retry"


async def test_recover_takes_back_a_dead_workers_claims(broker: Broker) -> None:
    """At once, without waiting for their visibility; other workers' claims stay."""
    await broker.put_many([NewJob("q", b"a"), NewJob("r", b"b"), NewJob("q", b"c")])
    lost = [await one_of(broker, queue) for queue in ("q", "r")]
    kept = await one(broker, "alive")
    assert await broker.recover("dead") == 2
    assert await broker.recover("dead") == 0
    assert not await broker.acknowledge(lost[0])
    assert await broker.acknowledge(kept)
    again = await broker.claim(["q", "r"], "w", limit=5)
    assert sorted(job.payload for job in again) == [b"a", b"b"]
    assert {job.attempt for job in again} == {2}


async def one_of(broker: Broker, queue: str) -> Job:
    """One job, claimed by the worker "dead"."""
    return (await broker.claim([queue], "dead"))[0]


async def test_a_clock_that_jumps_back_loses_nothing(broker: Broker, clock: FakeClock) -> None:
    """Ready jobs stay ready; delays and claims last as long as they were to."""
    await broker.put("ready", b"")
    await broker.put("delayed", b"", delay_s=10)
    await broker.put("claimed", b"")
    claimed = await one(broker, queue="claimed", visibility_s=10)
    clock.pass_s(-1_000_000)
    assert len(await broker.claim(["ready"], "w")) == 1
    assert await broker.claim(["delayed", "claimed"], "w") == []
    clock.pass_s(9)
    assert await broker.claim(["delayed", "claimed"], "w") == []
    clock.pass_s(2)
    assert len(await broker.claim(["delayed"], "w")) == 1
    again = await one(broker, queue="claimed")
    assert not await broker.acknowledge(claimed)
    assert await broker.acknowledge(again)


async def test_a_clock_that_jumps_ahead_doubles_nothing(broker: Broker, clock: FakeClock) -> None:
    """Claims are lost early, but each job is still acknowledged once, and none is gone."""
    await broker.put_many([NewJob("q", b"%d" % n, max_attempts=9) for n in range(4)])
    first = await broker.claim(["q"], "a", limit=3)
    clock.pass_s(1_000_000)
    second = await broker.claim(["q"], "b", limit=4)
    assert len(second) == 4
    assert [await broker.acknowledge(job) for job in first] == [False] * 3
    assert [await broker.acknowledge(job) for job in second] == [True] * 4
    assert await broker.stats() == []


async def test_stats_and_rows_count(broker: Broker, clock: FakeClock) -> None:
    """Jobs by state and queue; the age is that of the oldest job that waits."""
    await broker.put("q", b"")
    clock.pass_s(30)
    for _ in range(3):
        await broker.put("q", b"")
    await broker.put("q", b"", delay_s=100)
    await broker.put("r", b"")
    assert await broker.acknowledge((await broker.claim(["q"], "w"))[0])
    await broker.claim(["q"], "w")
    clock.pass_s(5)
    q, r = await broker.stats()
    assert (q.queue, q.ready, q.delayed, q.claimed, q.dead) == ("q", 2, 1, 1, 0)
    assert (q.put_total, q.done_total, r.put_total) == (5, 1, 1)
    assert q.oldest_s == pytest.approx(5)
    row = (await broker.rows())[0]
    assert (row.name, row.depth, row.consumers) == ("jobs:q", 3, 1)


async def test_jobs_outlive_the_broker(make: Make, kind: str, clock: FakeClock) -> None:
    """Another broker on the same store goes on where the first ended, even with an older clock."""
    if kind == "memory":
        pytest.skip("memory is not durable")
    first = make()
    await first.put("q", b"ready", idempotency_key="k")
    await first.put("q", b"delayed", delay_s=10)
    await first.put("r", b"claimed")
    claimed = await one(first, "kernel", queue="r", visibility_s=1000)
    await first.close()
    clock.pass_s(-100_000)
    second = make()
    assert await counts(second) == (1, 1, 0, 0)
    await second.put("q", b"", idempotency_key="k")
    assert (await one(second)).payload == b"ready"
    clock.pass_s(12)
    assert (await one(second)).payload == b"delayed"
    assert await second.recover("kernel") == 1
    assert not await second.acknowledge(claimed)
    assert (await one(second, queue="r")).attempt == 2


async def test_close_ends_waiting_claims_and_refuses_more(broker: Broker) -> None:
    """Waiting claims get nothing; later calls are told that it is closed; closing twice is fine."""
    await broker.put("r", b"")
    waiting = asyncio.create_task(broker.claim(["q"], "w", wait_s=10 * LIMIT_S))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(LIMIT_S):
        await broker.close()
        assert await waiting == []
        await broker.close()
    with pytest.raises(Cancelled, match="closed"):
        await broker.put("q", b"")


async def test_open_broker_by_url(tmp_path: Path, redis_url: str) -> None:
    """Each scheme opens its broker; another is refused with the list."""
    for url, expected in [
        ("memory:", MemoryBroker),
        (f"sqlite:{tmp_path}/jobs.db", SqliteBroker),
        (redis_url, RedisBroker),
    ]:
        broker = open_broker(url)
        assert isinstance(broker, expected)
        await broker.close()
    with pytest.raises(InvalidArguments, match="memory:, sqlite:"):
        open_broker("amqp://host")


verbs = st.sampled_from(["put", "claim", "ack", "fail", "bury", "extend", "recover", "requeue"])
steps = st.lists(
    st.tuples(verbs, st.integers(0, 5), st.integers(0, 3), st.sampled_from("qr")), max_size=50
)


class Twin:
    """A broker, and the jobs that its workers hold, by payload."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.jobs: list[Job] = []

    async def step(self, verb: str, n: int, worker: int, queue: str, payload: bytes) -> object:
        """Do something; what came of it, in a form that twins can compare."""
        job = self.jobs[n % len(self.jobs)] if self.jobs else None
        match verb:
            case "put":
                key = str(n) if n < 3 else ""
                tenant = "ab"[worker % 2]
                expires_s = 20.0 if n == 5 else None
                await self.broker.put(
                    queue,
                    payload,
                    priority=worker,
                    delay_s=float(n == 4),
                    idempotency_key=key,
                    tenant=tenant,
                    max_attempts=2,
                    expires_s=expires_s,
                )
            case "claim":
                jobs = await self.broker.claim(["q", "r"], f"w{worker}", visibility_s=5, limit=100)
                self.jobs += sorted(jobs, key=lambda job: job.payload)
                return [(job.priority, job.payload, job.attempt) for job in jobs]
            case "recover":
                return await self.broker.recover(f"w{worker}")
            case "requeue":
                for letter in await self.broker.dead(queue, limit=1):
                    tenant = [None, "a", "b", "c"][worker]
                    return await self.broker.requeue(letter.job_id, tenant=tenant)
            case _ if job is not None:
                return await self.end(verb, job)
        return None

    async def end(self, verb: str, job: Job) -> object:
        """Acknowledge, fail, bury or extend."""
        if verb == "ack":
            return await self.broker.acknowledge(job)
        if verb == "extend":
            return await self.broker.extend(job, 7)
        return await self.broker.fail(job, "no", retry=verb == "fail")

    async def state(self) -> object:
        """Everything that can be seen."""
        stats = [
            (s.queue, s.ready, s.delayed, s.claimed, s.dead) for s in await self.broker.stats()
        ]
        letters = [
            sorted((letter.payload, letter.error) for letter in await self.broker.dead(queue))
            for queue in "qr"
        ]
        return stats, letters


@settings(max_examples=40, deadline=None)
@given(steps)
def test_all_brokers_do_the_same(
    tmp_path_factory: pytest.TempPathFactory, redis_url: str, steps: list[tuple[str, int, int, str]]
) -> None:
    """After any steps, with time passing, all show the same; no job is lost.

    Redis puts a job that comes back behind its equals, the others where it was.
    """
    clock = FakeClock()

    async def compare() -> None:
        path = tmp_path_factory.mktemp("twin") / "jobs.db"
        options: dict[str, Any] = {"clock": clock, "chance": lambda: 0.0}
        memory = Twin(MemoryBroker(**options))
        sqlite = Twin(SqliteBroker(path, **options))
        redis = Twin(RedisBroker(redis_url, prefix=uuid.uuid4().hex, **options))
        for number, (verb, n, worker, queue) in enumerate(steps):
            step = (verb, n, worker, queue, b"%d" % number)
            expected = await memory.step(*step)
            assert await sqlite.step(*step) == expected, step
            outcome = await redis.step(*step)
            if isinstance(outcome, list) and isinstance(expected, list):
                assert [job[0] for job in outcome] == [job[0] for job in expected], "priorities"
                outcome, expected = sorted(outcome), sorted(expected)
            assert outcome == expected, step
            state = await memory.state()
            assert await sqlite.state() == state, step
            assert await redis.state() == state, step
            clock.pass_s(n)
        for twin in (memory, sqlite, redis):
            await twin.broker.close()

    asyncio.run(compare())
