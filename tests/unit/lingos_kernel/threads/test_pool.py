"""The elastic pool: order, growth, shrinking, abandoned threads, what it shows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.errors import KernelUnavailable
from lingos_kernel.threads.pool import ElasticPool

LIMIT_S = 20.0
"""Longest wait for an event that must come; a test that reaches it fails."""


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Tasks wait for it; opened at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def pool() -> Iterator[ElasticPool]:
    """A pool of 1 to 4 threads, shut down after the test."""
    pool = ElasticPool(1, 4)
    yield pool
    pool.shutdown(LIMIT_S)


def occupy(pool: ElasticPool, gate: threading.Event, *, blocked: str = "") -> Future[bool]:
    """A task that has started and waits for the gate, telling the pool so if `blocked`."""
    started = threading.Event()

    def work() -> bool:
        if not blocked:
            started.set()
            return gate.wait(LIMIT_S)
        with pool.blocked(blocked):
            started.set()
            return gate.wait(LIMIT_S)

    future = pool.submit(work, syscall="test.wait", pid=7)
    assert started.wait(LIMIT_S)
    return future


def test_a_result_comes_back(pool: ElasticPool) -> None:
    """submit runs the function on another thread and its future has the result."""
    assert pool.submit(threading.get_ident).result(LIMIT_S) != threading.get_ident()


def test_an_exception_comes_back(pool: ElasticPool) -> None:
    """Whatever the function raises, even SystemExit, reaches the caller; the thread lives on."""

    def work() -> None:
        raise SystemExit("enough")

    with pytest.raises(SystemExit, match="enough"):
        pool.submit(work).result(LIMIT_S)
    assert pool.submit(lambda: 1).result(LIMIT_S) == 1


def test_on_start_runs_first_on_the_same_thread(pool: ElasticPool) -> None:
    """on_start runs just before the function, on its thread."""
    seen: list[int] = []
    ident = pool.submit(
        threading.get_ident, on_start=lambda: seen.append(threading.get_ident())
    ).result(LIMIT_S)
    assert seen == [ident]


def test_waiting_work_goes_by_priority_then_arrival(gate: threading.Event) -> None:
    """Lower numbers first, equals in order of arrival."""
    pool = ElasticPool(1, 1)
    occupy(pool, gate)
    order: list[str] = []
    names = [("c", 5), ("a", -20), ("d", 5), ("b", 0), ("e", 19)]
    futures = [
        pool.submit(lambda name=name: order.append(name), priority=priority)  # type: ignore[misc]
        for name, priority in names
    ]
    assert pool.waiting == 5
    gate.set()
    wait(futures, LIMIT_S)
    assert order == ["a", "b", "c", "d", "e"]
    assert pool.shutdown(LIMIT_S) == 0


def test_a_waiting_task_can_be_cancelled(gate: threading.Event) -> None:
    """A cancelled future never runs, and those behind it do."""
    pool = ElasticPool(1, 1)
    occupy(pool, gate)
    ran: list[int] = []
    first = pool.submit(lambda: ran.append(1))
    second = pool.submit(lambda: ran.append(2))
    assert first.cancel()
    assert pool.waiting == 1
    gate.set()
    second.result(LIMIT_S)
    assert ran == [2]
    pool.shutdown(LIMIT_S)


def test_it_grows_up_to_its_maximum(pool: ElasticPool, gate: threading.Event) -> None:
    """Long tasks get a thread each up to the maximum; the rest waits."""
    futures = [pool.submit(lambda: gate.wait(LIMIT_S)) for _ in range(9)]
    while sum(future.running() for future in futures) < 4:
        assert wait(futures, 0.001).done == set()
    assert len(pool.rows()) == 4
    assert pool.waiting == 5
    gate.set()
    assert all(future.result(LIMIT_S) for future in futures)


def test_tasks_that_last_longer_than_expected_do_not_hold_up_the_rest(
    gate: threading.Event,
) -> None:
    """Expected to be short, they hold every thread: in time the sum hires for those who wait."""
    pool = ElasticPool(1, 8)
    for _ in range(200):
        pool.submit(lambda: None, syscall="test.wait").result(LIMIT_S)
    stuck = [pool.submit(lambda: gate.wait(LIMIT_S), syscall="test.wait") for _ in range(5)]
    assert pool.submit(lambda: "ran", syscall="test.wait").result(LIMIT_S) == "ran"
    assert not any(future.done() for future in stuck)
    gate.set()
    pool.shutdown(LIMIT_S)


def test_blocked_threads_do_not_count(gate: threading.Event) -> None:
    """With its only wanted thread blocked, the pool hires another."""
    pool = ElasticPool(1, 2)
    occupy(pool, gate, blocked="lock:a")
    assert pool.submit(lambda: 1).result(LIMIT_S) == 1
    states = {row.state: row for row in pool.rows()}
    assert states["blocked"].waiting_on == "lock:a"
    gate.set()
    pool.shutdown(LIMIT_S)


def test_nested_work_runs_even_when_all_threads_wait_for_it() -> None:
    """Tasks that wait for nested tasks, deeper than the maximum, still come to an end."""
    pool = ElasticPool(1, 2)

    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        future = pool.submit(lambda: nested(depth - 1))
        with pool.blocked("nested call"):
            return 1 + future.result(LIMIT_S)

    assert pool.submit(lambda: nested(12)).result(LIMIT_S) == 12
    pool.shutdown(LIMIT_S)


def test_idle_threads_leave_down_to_the_minimum(gate: threading.Event) -> None:
    """After idle_s without work only the minimum stays."""
    pool = ElasticPool(1, 4, idle_s=0.01)
    futures = [occupy(pool, gate) for _ in range(4)]
    threads = [t for t in threading.enumerate() if t.name.startswith("syscall-")]
    gate.set()
    wait(futures, LIMIT_S)
    ended = threading.Event()
    while len(pool.rows()) > 1:
        ended.wait(0.005)
    assert len(threads) >= 4
    assert pool.submit(lambda: 1).result(LIMIT_S) == 1
    pool.shutdown(LIMIT_S)


def test_an_abandoned_thread_is_replaced_shown_and_ends(gate: threading.Event) -> None:
    """A call that timed out gives its place away; its thread is shown until the function ends."""
    pool = ElasticPool(1, 1)
    stuck = occupy(pool, gate)
    other = pool.submit(lambda: 1)
    assert pool.abandon(stuck)
    assert other.result(LIMIT_S) == 1
    assert sorted(row.state for row in pool.rows()) == ["abandoned", "idle"]
    assert pool.abandoned_total == 1
    assert not pool.abandon(stuck), "once is enough"
    gate.set()
    assert stuck.result(LIMIT_S)
    while len(pool.rows()) > 1:
        threading.Event().wait(0.001)
    assert pool.shutdown(LIMIT_S) == 0


def test_a_blocked_thread_can_be_abandoned(gate: threading.Event) -> None:
    """The count of blocked threads stays right when a blocked one is given up and comes back."""
    pool = ElasticPool(1, 1)
    stuck = occupy(pool, gate, blocked="lock:a")
    assert pool.abandon(stuck)
    gate.set()
    assert stuck.result(LIMIT_S)
    assert pool.submit(lambda: 1).result(LIMIT_S) == 1
    assert pool.sums().threads == 1
    pool.shutdown(LIMIT_S)


def test_abandoning_a_waiting_task_cancels_it(gate: threading.Event) -> None:
    """No thread is lost for a task that has not begun."""
    pool = ElasticPool(1, 1)
    occupy(pool, gate)
    waiting = pool.submit(lambda: 1)
    assert not pool.abandon(waiting)
    assert waiting.cancelled()
    gate.set()
    pool.shutdown(LIMIT_S)


def test_rows_show_who_runs_what_and_where(pool: ElasticPool, gate: threading.Event) -> None:
    """A running thread's row has syscall, pid, current frame, CPU and busy time."""
    future = occupy(pool, gate)
    (row,) = pool.rows()
    assert (row.state, row.syscall, row.pid, row.waiting_on) == ("running", "test.wait", 7, "")
    assert row.frame.startswith("python3") or "threading.py" in row.frame
    assert row.busy_s > 0.0
    assert row.cpu_s > 0.0
    gate.set()
    future.result(LIMIT_S)
    while (row := pool.rows()[0]).state != "idle":
        threading.Event().wait(0.001)
    assert (row.syscall, row.pid, row.frame) == ("", 0, "")


def test_blocked_outside_the_pool_has_no_effect(pool: ElasticPool) -> None:
    """Code that may run anywhere can say that it is blocked."""
    with pool.blocked("anything"):
        assert pool.sums().threads == 0


def test_blocked_nests(pool: ElasticPool) -> None:
    """An inner wait shows, then the outer one again, and the thread counts as blocked once."""
    seen: list[tuple[str, int]] = []

    def look() -> None:
        seen.append((pool.rows()[0].waiting_on, pool.sums().threads))

    def work() -> None:
        with pool.blocked("outer"):
            with pool.blocked("inner"):
                look()
            look()
        look()

    pool.submit(work).result(LIMIT_S)
    assert seen == [("inner", 0), ("outer", 0), ("", 1)]


def test_shutdown_cancels_what_waits_and_is_bounded(gate: threading.Event) -> None:
    """Waiting work is cancelled, new work refused, and a task that never ends is not waited for."""
    pool = ElasticPool(1, 1)
    occupy(pool, gate)
    waiting = pool.submit(lambda: 1)
    assert pool.shutdown(timeout_s=0.01) == 1
    assert waiting.cancelled()
    with pytest.raises(KernelUnavailable, match="shut down"):
        pool.submit(lambda: 1)
    gate.set()
    assert pool.shutdown(LIMIT_S) == 0


def test_the_bounds_must_make_sense() -> None:
    """A minimum above the maximum is refused."""
    with pytest.raises(ValueError, match="minimum"):
        ElasticPool(3, 2)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run", "raise", "block", "cancel", "nest"]), st.integers(-20, 19)
        ),
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_every_future_is_settled(work: list[tuple[str, int]], maximum: int) -> None:
    """Whatever is submitted: each future ends, nothing waits at the end, the counts are back."""
    pool = ElasticPool(1, maximum, idle_s=0.005)

    def body(kind: str) -> str:
        if kind == "raise":
            raise LookupError(kind)
        if kind == "block":
            with pool.blocked("nothing"):
                return kind
        if kind == "nest":
            future = pool.submit(lambda: "inner")
            with pool.blocked("nested call"):
                return future.result(LIMIT_S)
        return kind

    futures = []
    for kind, priority in work:
        future = pool.submit(lambda kind=kind: body(kind), priority=priority)  # type: ignore[misc]
        if kind == "cancel":
            future.cancel()
        futures.append(future)
    assert not wait(futures, LIMIT_S).not_done
    assert pool.waiting == 0
    assert pool.shutdown(LIMIT_S) == 0
    assert pool.rows() == ()
