"""Named locks from threads and from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lingos_kernel.errors import CallTimeout, Cancelled, Deadlock, NotPermitted
from lingos_kernel.threads.locks import Locks
from lingos_kernel.threads.pool import ElasticPool

LIMIT_S = 20.0


@pytest.fixture
def pool() -> Iterator[ElasticPool]:
    """A small pool, shut down after the test."""
    pool = ElasticPool(2, 8)
    yield pool
    pool.shutdown(LIMIT_S)


@pytest.fixture
def locks(pool: ElasticPool) -> Locks:
    """Locks with two mutexes, a rwlock and a barrier of two."""
    locks = Locks(pool.blocked)
    locks.create("a", "mutex")
    locks.create("b", "mutex")
    locks.create("r", "rwlock")
    locks.create("gate", "barrier", units=2)
    return locks


async def until_waiting(locks: Locks, name: str, count: int = 1) -> None:
    """Return when so many wait for the lock."""
    while len(next(row for row in locks.rows() if row.name == name).waiters) < count:
        await asyncio.sleep(0)


async def test_only_one_holds_a_mutex(locks: Locks, pool: ElasticPool) -> None:
    """Threads and coroutines alike, over many turns, never two inside at once."""
    inside = 0
    total = 0

    def enter() -> None:
        nonlocal inside, total
        inside += 1
        assert inside == 1
        total += 1
        inside -= 1

    def work(pid: int) -> None:
        for _ in range(50):
            with locks.hold("a", pid):
                enter()

    async def work_async(pid: int) -> None:
        for _ in range(50):
            async with locks.hold_async("a", pid):
                enter()
                await asyncio.sleep(0)

    threads = [asyncio.wrap_future(pool.submit(lambda pid=pid: work(pid))) for pid in (1, 2, 3)]  # type: ignore[misc]
    await asyncio.gather(*threads, work_async(4), work_async(5))
    assert total == 250
    locks.check_integrity()


async def test_a_waiting_thread_is_shown(locks: Locks, pool: ElasticPool) -> None:
    """While a pool thread waits for a lock its row says for which."""
    locks.acquire("a", 1)
    future = pool.submit(lambda: locks.acquire("a", 2), syscall="thread.lock", pid=2)
    await until_waiting(locks, "a")
    while (row := pool.rows()[0]).state != "blocked":
        await asyncio.sleep(0)
    assert (row.waiting_on, row.pid) == ("lock:a", 2)
    locks.release("a", 1)
    future.result(LIMIT_S)


def test_a_time_limit_ends_a_wait(locks: Locks) -> None:
    """The error says who waited for what and who holds it; nobody is left in the queue."""
    locks.acquire("a", 1)
    with pytest.raises(CallTimeout, match=r"pid 2 waited 0 s for mutex:a held by pid 1"):
        locks.acquire("a", 2, timeout_s=0)
    assert locks.rows()[0].waiters == ()


async def test_a_time_limit_ends_an_awaited_wait(locks: Locks) -> None:
    """The same when awaiting; the lock is as it was."""
    locks.acquire("a", 1)
    with pytest.raises(CallTimeout, match="held by pid 1"):
        await locks.acquire_async("a", 2, timeout_s=0.001)
    locks.check_integrity()
    locks.release("a", 1)
    await locks.acquire_async("a", 2, timeout_s=0)


async def test_a_cancelled_wait_leaves_nothing(locks: Locks) -> None:
    """Cancelled before the grant: out of the queue."""
    locks.acquire("a", 1)
    task = asyncio.create_task(locks.acquire_async("a", 2))
    await until_waiting(locks, "a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert locks.rows()[0].waiters == ()


async def test_a_grant_that_comes_with_the_cancel_is_given_back(locks: Locks) -> None:
    """Cancelled after the grant but before the task woke: the lock passes to the next."""
    locks.acquire("a", 1)
    task = asyncio.create_task(locks.acquire_async("a", 2))
    await until_waiting(locks, "a")
    next_one = asyncio.create_task(locks.acquire_async("a", 3))
    await until_waiting(locks, "a", 2)
    locks.release("a", 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await next_one
    assert locks.rows()[0].holders == (3,)
    locks.check_integrity()


async def test_a_deadlock_between_a_thread_and_a_coroutine(locks: Locks, pool: ElasticPool) -> None:
    """The closing wait fails at once with the cycle; the other goes on when it lets go."""
    locks.acquire("a", 1)
    locks.acquire("b", 2)
    waiting = pool.submit(lambda: locks.acquire("b", 1))
    await until_waiting(locks, "b")
    with pytest.raises(Deadlock, match="pid 2 waits for mutex:a held by pid 1; pid 1 waits"):
        await locks.acquire_async("a", 2)
    locks.release("b", 2)
    waiting.result(LIMIT_S)


async def test_the_end_of_a_process_ends_its_waits(locks: Locks, pool: ElasticPool) -> None:
    """Waits of the dead process end in Cancelled; what it held goes to the next."""
    locks.acquire("a", 1)
    locks.acquire("b", 2)
    mine = pool.submit(lambda: locks.acquire("b", 1, task="x"))
    await until_waiting(locks, "b")
    theirs = asyncio.create_task(locks.acquire_async("a", 2))
    await until_waiting(locks, "a")
    locks.release_all(1)
    with pytest.raises(Cancelled, match="pid 1 ended"):
        mine.result(LIMIT_S)
    await theirs
    assert [row.holders for row in locks.rows() if row.name in "ab"] == [(2,), (2,)]


def test_leaving_a_block_after_the_process_ended_is_no_error(locks: Locks) -> None:
    """A hold that was released with its process is not released twice."""
    with locks.hold("r", 1, shared=True):
        locks.release_all(1)
        locks.acquire("r", 2)
    assert next(row for row in locks.rows() if row.name == "r").holders == (2,)
    with pytest.raises(NotPermitted):
        locks.release("r", 1)


def test_an_interrupted_wait_leaves_nothing() -> None:
    """Ctrl-C in the middle of a wait takes it out of the queue."""

    @contextmanager
    def interrupted(_waiting_on: str) -> Iterator[None]:
        if _waiting_on:
            raise KeyboardInterrupt
        yield

    locks = Locks(interrupted)
    locks.create("a", "mutex")
    locks.acquire("a", 1)
    with pytest.raises(KeyboardInterrupt):
        locks.acquire("a", 2)
    assert locks.rows()[0].waiters == ()
    locks.check_integrity()


async def test_a_barrier_of_a_thread_and_a_coroutine(locks: Locks, pool: ElasticPool) -> None:
    """Both go on when both have arrived."""
    thread = pool.submit(lambda: locks.acquire("gate", 1))
    await locks.acquire_async("gate", 2)
    thread.result(LIMIT_S)
    locks.check_integrity()


def test_remove_forgets_a_lock(locks: Locks) -> None:
    """A removed lock is gone from the rows."""
    locks.remove("gate")
    assert [row.name for row in locks.rows()] == ["a", "b", "r"]


def test_many_threads_with_random_order_all_come_to_an_end() -> None:
    """Tasks taking two of four locks in any order: each works or is told of a deadlock."""
    locks = Locks()
    for name in "abcd":
        locks.create(name, "mutex")
    done: list[bool] = []

    def work(pid: int) -> None:
        for turn in range(30):
            first, second = "abcd"[(pid + turn) % 4], "abcd"[(pid * 3 + turn * 2 + 1) % 4]
            try:
                with locks.hold(first, pid), locks.hold(second, pid):
                    done.append(True)
            except Deadlock:
                done.append(False)

    threads = [threading.Thread(target=work, args=(pid,)) for pid in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert len(done) == 180
    locks.check_integrity()
    assert all(not row.holders for row in locks.rows())
