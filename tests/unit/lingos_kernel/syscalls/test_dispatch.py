"""The path of a call: each check, each way to run, each way to end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from lingos_kernel import Context, Item, Principal, Progress, Result, syscall
from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    ConfirmationRequired,
    InvalidArguments,
    KernelUnavailable,
    NotAuthenticated,
    NotPermitted,
    OutOfMemory,
    QueueFull,
    QuotaExceeded,
    SyscallFailed,
    UnknownProcess,
    UnknownSyscall,
)
from lingos_kernel.processes import Limits, Signal
from lingos_kernel.processes.process import NO_LIMITS
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.admission import Bounds
from lingos_kernel.syscalls.events import Accepted, Failure

LIMIT_S = 20.0
"""Longest wait for something that must happen; a test that reaches it fails."""

ME = owner("me")
GUEST = Principal("guest", "guest", frozenset({"test.*"}))


@syscall("test.add")
def add(a: int, b: int = 1) -> int:
    """Add on a thread."""
    return a + b


@syscall("test.aadd", cost="io")
async def aadd(a: int, b: int = 1) -> int:
    """Add on the loop."""
    return a + b


@syscall("test.count")
def count(n: int) -> Iterator[int]:
    """Stream from a thread."""
    yield from range(n)


@syscall("test.acount", cost="io")
async def acount(n: int) -> AsyncIterator[int]:
    """Stream from the loop."""
    for number in range(n):
        yield number


@syscall("test.hang", cost="io")
async def hang() -> None:
    """Wait for ever on the loop."""
    await asyncio.Event().wait()


async def events_of(call: Any) -> list[Any]:
    """All events of a call."""
    return [event async for event in call.events()]


@pytest.mark.parametrize("name", ["test.add", "test.aadd"])
async def test_result(rig: Any, name: str) -> None:
    """A function's value is the result, on a thread as on the loop."""
    rig.add(add, aadd)
    assert await rig.call(name, a=2) == 3
    call = rig.submit(name, arguments={"a": 2, "b": 5})
    first, last = await events_of(call)
    assert first == Accepted(call.call_id, call.pid)
    assert last == Result(7)


@pytest.mark.parametrize("name", ["test.count", "test.acount"])
async def test_generators_stream_in_order(rig: Any, name: str) -> None:
    """Each yielded value is an item, in order, and the result is their list."""
    rig.add(count, acount)
    events = await events_of(rig.submit(name, arguments={"n": 1000}))
    assert [event.data for event in events[1:-1]] == list(range(1000))
    assert events[-1] == Result(list(range(1000)))
    assert await rig.call(name, n=1000) == list(range(1000))


async def test_result_event_ends_a_generator(rig: Any) -> None:
    """A yielded Result is the result, and the generator is closed after it."""
    closed = []

    @syscall("test.talk", cost="io")
    async def talk() -> AsyncIterator[Any]:
        try:
            yield Progress(1, 2)
            yield Item({"text": "a"})
            yield {"text": "b"}
            yield Result({"n": 2})
            yield "never"
        finally:
            closed.append(True)

    @syscall("test.talk_sync")
    def talk_sync() -> Iterator[Any]:
        try:
            yield "a"
            yield Result(1)
            yield "never"
        finally:
            closed.append(True)

    rig.add(talk, talk_sync)
    events = await events_of(rig.submit("test.talk"))
    assert events[1:] == [
        Progress(1, 2),
        Item({"text": "a"}),
        Item({"text": "b"}),
        Result({"n": 2}),
    ]
    assert (await events_of(rig.submit("test.talk_sync")))[1:] == [Item("a"), Result(1)]
    assert closed == [True, True]


# Refusals


async def refusal(call: Any, kind: type[Exception]) -> str:
    """The message of a call that was refused, which ends at once and says nothing before."""
    assert call.state == "ended"
    assert [type(event) for event in await events_of(call)] == [Failure]
    with pytest.raises(kind) as caught:
        await call.result()
    return str(caught.value)


async def test_refusals(rig: Any) -> None:
    """Nobody, unknown names, missing capabilities and wrong arguments are refused at once."""

    @syscall("admin.wipe", capability="admin", confirm=True, cost="io")
    async def wipe(path: str) -> str:
        """Wipe it."""
        return path

    rig.add(add, wipe)
    await refusal(rig.submit("test.add", by=None), NotAuthenticated)
    assert "test.add" in await refusal(rig.submit("test.ad"), UnknownSyscall)
    assert "admin" in await refusal(rig.submit("admin.wipe", by=GUEST), NotPermitted)
    told = await refusal(rig.submit("test.add", arguments={"a": "1", "c": 2}), InvalidArguments)
    assert "a is '1'" in told
    assert "c is not an argument" in told
    for wrong in ([1], 7, "a"):
        await refusal(rig.submit("test.add", arguments=wrong), InvalidArguments)
    await refusal(rig.submit("test.add", arguments={"a": 1}, pid=99), UnknownProcess)
    refused = rig.submit("admin.wipe", arguments={"path": "/"})
    assert "Wipe it." in await refusal(refused, ConfirmationRequired)
    assert refused.outcome.error["details"]["arguments"] == {"path": "/"}
    confirmed = rig.submit("admin.wipe", arguments={"path": "/"}, confirmed=True)
    assert await confirmed.result() == "/"


async def test_processes_of_others(rig: Any) -> None:
    """A call may not join another's process, nor be more urgent than its caller may."""
    rig.add(add)
    mine = rig.processes.open(ME, "sh")
    await refusal(rig.submit("test.add", by=GUEST, arguments={"a": 1}, pid=mine.pid), NotPermitted)
    await refusal(rig.submit("test.add", by=GUEST, arguments={"a": 1}, priority=-5), NotPermitted)
    call = rig.submit("test.add", arguments={"a": 1}, pid=mine.pid, priority=-5)
    assert (call.pid, call.priority) == (mine.pid, -5)
    assert await call.result() == 2


async def test_bounds(make_rig: Callable[..., Any]) -> None:
    """A full pipeline refuses with the time after which to try again."""
    rig = make_rig(bounds=Bounds(running=1, queued=1, per_principal=3))
    rig.add(hang)
    running, queued = rig.submit("test.hang"), rig.submit("test.hang")
    refused = rig.submit("test.hang")
    assert "waiting" in await refusal(refused, QueueFull)
    assert refused.error().retry_after_s > 0
    assert [row.queue_position for row in rig.dispatcher.calls()] == [None, 0]
    running.cancel()
    await asyncio.sleep(0)
    assert queued.state == "running"


async def test_one_principal_leaves_room(make_rig: Callable[..., Any]) -> None:
    """One caller cannot take all places."""
    rig = make_rig(bounds=Bounds(running=4, queued=4, per_principal=2))
    rig.add(hang)
    rig.submit("test.hang"), rig.submit("test.hang")
    await refusal(rig.submit("test.hang"), QueueFull)
    assert rig.submit("test.hang", by=GUEST).state != "ended"


async def test_priority_orders_the_queue(make_rig: Callable[..., Any]) -> None:
    """Waiting calls start by the priority of their process, also after a renice."""
    rig = make_rig(bounds=Bounds(running=1))
    order = []

    @syscall("test.note", cost="io")
    async def note(name: str) -> None:
        order.append(name)

    rig.add(note, hang)
    blocker = rig.submit("test.hang")
    pids = {p: rig.processes.open(ME, "x", priority=p).pid for p in (5, 0, -5)}
    calls = [
        rig.submit("test.note", arguments={"name": str(p)}, pid=pid) for p, pid in pids.items()
    ]
    assert [row.queue_position for row in rig.dispatcher.calls()[1:]] == [2, 1, 0]
    rig.processes.nice(pids[5], -20, by=ME)
    blocker.cancel()
    for call in calls:
        await call.result()
    assert order == ["5", "-5", "0"]


# Ends


class Leave(BaseException):
    """Not an Exception."""


def raises(error: BaseException) -> list[Any]:
    """A syscall of each kind that raises the error."""

    @syscall("test.function")
    def function() -> None:
        raise error

    @syscall("test.generator")
    def generator() -> Iterator[int]:
        yield 1
        raise error

    @syscall("test.coroutine", cost="io")
    async def coroutine() -> None:
        raise error

    @syscall("test.async_generator", cost="io")
    async def async_generator() -> AsyncIterator[int]:
        yield 1
        raise error

    return [function, generator, coroutine, async_generator]


FLOWS = ["function", "generator", "coroutine", "async_generator"]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no"), SyscallFailed),
        (OutOfMemory("too big", hint="use less", sums={"M": 1}), OutOfMemory),
        (SystemExit(3), SyscallFailed),
        (KeyboardInterrupt(), SyscallFailed),
        (Leave("bye"), SyscallFailed),
        (asyncio.CancelledError(), Cancelled),
        (StopIteration(), SyscallFailed),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else repr(value),
)
async def test_whatever_is_raised_ends_the_call(
    rig: Any, flow: str, error: BaseException, kind: type[Exception]
) -> None:
    """Any exception, of any base, in any kind of function, ends the call in one failure."""
    rig.add(*raises(error))
    events = await events_of(rig.submit(f"test.{flow}"))
    assert isinstance(events[-1], Failure)
    assert not any(isinstance(event, Failure | Result) for event in events[:-1])
    with pytest.raises(kind) as caught:
        await rig.submit(f"test.{flow}").result()
    if isinstance(error, OutOfMemory):
        assert caught.value.details == {"sums": {"M": 1}}


@pytest.mark.parametrize("value", [object(), {1: {2: object()}}, "\ud800", lambda: 1])
async def test_results_that_are_not_json(rig: Any, value: Any) -> None:
    """A result or item that no JSON can carry is a failure that names the syscall."""

    @syscall("test.bad")
    def bad() -> Any:
        return value

    @syscall("test.bad_item", cost="io")
    async def bad_item() -> AsyncIterator[Any]:
        yield value

    rig.add(bad, bad_item)
    for name in ("test.bad", "test.bad_item"):
        with pytest.raises(SyscallFailed, match=f"{name} gave a result that is not JSON"):
            await rig.call(name)


async def test_timeout_on_the_loop(rig: Any) -> None:
    """A coroutine that waits for ever ends at its limit and is cancelled."""
    ended = asyncio.Event()

    @syscall("test.slow", cost="io", timeout_s=0.01)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    rig.add(slow)
    with pytest.raises(CallTimeout, match=r"test\.slow took longer than 0\.01 s"):
        await rig.call("test.slow")
    await asyncio.wait_for(ended.wait(), LIMIT_S)


async def test_a_caller_may_only_shorten_the_limit(rig: Any) -> None:
    """`timeout_s` of the call is used when it is the shorter one."""
    rig.add(hang)
    with pytest.raises(CallTimeout):
        await rig.submit("test.hang", timeout_s=0.01).result()


async def test_thread_that_never_returns(rig: Any) -> None:
    """Its call ends at the limit; the thread is a stray until it returns."""
    gate, seen = threading.Event(), threading.Event()

    @syscall("test.stuck", timeout_s=0.02)
    def stuck(context: Context) -> None:
        gate.wait(LIMIT_S)
        if context.cancelled.is_set():
            seen.set()

    rig.add(stuck, add)
    with pytest.raises(CallTimeout):
        await rig.call("test.stuck")
    assert rig.dispatcher.stats().strays == 1
    assert [row.state for row in rig.pool.rows()] == ["abandoned"]
    assert await rig.call("test.add", a=1) == 2
    gate.set()
    await asyncio.to_thread(seen.wait, LIMIT_S)
    await until(lambda: rig.dispatcher.stats().strays == 0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():
            await asyncio.sleep(0)


async def test_coroutine_that_ignores_cancel(rig: Any) -> None:
    """Its call ends all the same, once; it counts as a stray until it returns."""
    gate = asyncio.Event()

    @syscall("test.stubborn", cost="io", timeout_s=0.01)
    async def stubborn() -> int:
        while True:
            try:
                await gate.wait()
                return 1
            except asyncio.CancelledError:
                continue

    rig.add(stubborn)
    call = rig.submit("test.stubborn")
    with pytest.raises(CallTimeout):
        await call.result()
    await asyncio.sleep(0)
    assert rig.dispatcher.stats().strays == 1
    gate.set()
    await until(lambda: rig.dispatcher.stats().strays == 0)
    assert isinstance(call.outcome, Failure)


async def test_cancel_while_queued_in_the_pool(rig: Any) -> None:
    """A function that has not begun never runs when its call is cancelled."""
    gate, began = threading.Event(), []
    rig.pool.maximum = 1

    @syscall("test.block")
    def block(n: int) -> None:
        began.append(n)
        gate.wait(LIMIT_S)

    rig.add(block)
    first, second = (rig.submit("test.block", arguments={"n": n}) for n in (1, 2))
    await until(lambda: first.state == "running")
    assert second.state == "queued"
    second.cancel("changed my mind")
    with pytest.raises(Cancelled, match="changed my mind"):
        await second.result()
    gate.set()
    await first.result()
    assert began == [1]


async def test_many_may_wait_for_the_result(rig: Any) -> None:
    """All waiters get it; one that is cancelled leaves the call and the others alone."""
    rig.add(hang)
    call = rig.submit("test.hang")
    waiters = [asyncio.create_task(call.result()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    await asyncio.sleep(0)
    assert call.state == "running"
    call.cancel("enough")
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, Cancelled, Cancelled]


async def test_on_end(rig: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Callbacks run once at the end, or at once after it; one that fails harms nothing."""
    rig.add(aadd)
    call, told = rig.submit("test.aadd", arguments={"a": 1}), []
    call.on_end(lambda call: 1 / 0)
    call.on_end(told.append)
    assert await call.result() == 2
    call.on_end(told.append)
    assert told == [call, call]
    assert "ZeroDivisionError" in caplog.text


async def test_stop_ends_everything(make_rig: Callable[..., Any]) -> None:
    """Shutting down ends running and queued calls, and refuses new ones."""
    rig = make_rig(bounds=Bounds(running=1))
    gate = threading.Event()

    @syscall("test.block")
    def block() -> None:
        gate.wait(LIMIT_S)

    rig.add(hang, block)
    calls = [rig.submit("test.block"), rig.submit("test.hang"), rig.submit("test.hang")]
    await until(lambda: calls[0].state == "running")
    assert await rig.dispatcher.stop() == 0
    for call in calls:
        with pytest.raises(Cancelled, match="shutting down"):
            await call.result()
    await refusal(rig.submit("test.hang"), KernelUnavailable)
    gate.set()


# Streams


@pytest.mark.parametrize("name", ["test.flood", "test.aflood"])
async def test_a_slow_reader_slows_the_writer(rig: Any, name: str) -> None:
    """An endless stream stops when its reader does not read, and ends when the reader leaves."""
    made = [0]
    closed = threading.Event()

    @syscall("test.flood")
    def flood() -> Iterator[int]:
        try:
            while True:
                made[0] += 1
                yield made[0]
        finally:
            closed.set()

    @syscall("test.aflood", cost="io")
    async def aflood() -> AsyncIterator[int]:
        try:
            while True:
                made[0] += 1
                yield made[0]
        finally:
            closed.set()

    rig.add(flood, aflood)
    call = rig.submit(name)
    events = call.events()
    for _ in range(10):
        await anext(events)
    before = -1
    while before != made[0]:  # until the writer has come to rest
        before = made[0]
        await asyncio.to_thread(closed.wait, 0.05)
    assert made[0] <= 10 + 2 * 128
    await events.aclose()
    with pytest.raises(Cancelled, match="reader has gone away"):
        await call.result()
    assert await asyncio.to_thread(closed.wait, LIMIT_S)


async def test_endless_streams_without_reader_end_at_the_limit(rig: Any) -> None:
    """Waiting only for the result of an endless stream neither fills memory nor hangs."""

    @syscall("test.flood", cost="io", timeout_s=0.05)
    async def flood() -> AsyncIterator[int]:
        while True:
            yield 1

    @syscall("test.flood_sync", timeout_s=0.05)
    def flood_sync() -> Iterator[int]:
        while True:
            yield 1

    rig.add(flood, flood_sync)
    for name in ("test.flood", "test.flood_sync"):
        call = rig.submit(name)
        with pytest.raises(CallTimeout):
            await call.result()
        assert len(call.stream._events) <= 2


async def test_second_reader_is_refused(rig: Any) -> None:
    """Events have one reader."""
    rig.add(acount)
    call = rig.submit("test.acount", arguments={"n": 3})
    await events_of(call)
    with pytest.raises(RuntimeError, match="reader"):
        await events_of(call)


async def test_too_many_pieces_without_result(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream too long to be its own result must say what its result is."""
    monkeypatch.setattr("lingos_kernel.syscalls.work.MAX_COLLECTED", 10)
    rig.add(acount)
    with pytest.raises(SyscallFailed, match="11 pieces and gave no result"):
        await rig.call("test.acount", n=11)


async def test_progress(rig: Any) -> None:
    """Progress comes from threads and the loop; a reader who is late sees the newest."""

    @syscall("test.work")
    def work(context: Context) -> None:
        for n in range(500):
            context.progress(n, 500, unit="files", label="reading")

    rig.add(work)
    call = rig.submit("test.work")
    await call.result()
    events = await events_of(rig.submit("test.work"))
    assert all(isinstance(event, Progress) for event in events[1:-1])
    assert events[-2] == Progress(499, 500, "files", "reading")


# Books


async def test_limits(rig: Any) -> None:
    """Seconds, tokens and tool calls of a process and its ancestors are kept to."""
    rig.add(aadd, hang)
    parent = rig.processes.open(ME, "agent", limits=Limits(tokens=10, tool_calls=1))
    child = rig.processes.open(ME, "job", parent=parent.pid)
    model = Principal("me", "me", frozenset({"*"}), kind="model")
    tool = {"arguments": {"a": 1}, "pid": child.pid}
    assert await rig.submit("test.aadd", by=model, **tool).result() == 2
    await refusal(rig.submit("test.aadd", by=model, **tool), QuotaExceeded)
    assert await rig.submit("test.aadd", **tool).result() == 2
    rig.processes.charge(child.pid, tokens=10)
    assert "10 of 10 tokens" in await refusal(rig.submit("test.aadd", **tool), QuotaExceeded)
    timed = rig.processes.open(ME, "job", limits=Limits(seconds=0.02))
    with pytest.raises(QuotaExceeded, match="used up its seconds"):
        await rig.submit("test.hang", pid=timed.pid).result()
    assert timed.used.seconds >= 0.02


async def test_seconds_that_are_given_during_a_call_hold_for_it(rig: Any) -> None:
    """A limit set on an ancestor ends a call that runs already, and the error names whose it is."""
    rig.add(hang)
    parent = rig.processes.open(ME, "agent")
    child = rig.processes.open(ME, "job", parent=parent.pid)
    call = rig.submit("test.hang", pid=child.pid)
    await asyncio.sleep(0)
    rig.processes.limit(parent.pid, Limits(seconds=0.02), by=ME)
    with pytest.raises(QuotaExceeded, match=rf"process {parent.pid} \(agent\) has used up"):
        await call.result()


async def test_seconds_that_are_lifted_during_a_call_end_it_no_more(rig: Any) -> None:
    """A call goes on to its own time limit when its process may use more."""
    rig.add(hang)
    process = rig.processes.open(ME, "job", limits=Limits(seconds=0.02))
    call = rig.submit("test.hang", pid=process.pid, timeout_s=0.04)
    rig.processes.limit(process.pid, NO_LIMITS, by=ME)
    with pytest.raises(CallTimeout, match=r"longer than 0\.04 s"):
        await call.result()


async def test_a_stopped_call_is_not_ended_by_new_seconds(rig: Any) -> None:
    """Its time stands still; when its process goes on, the new limit ends it."""
    rig.add(hang)
    process = rig.processes.open(ME, "job")
    call = rig.submit("test.hang", pid=process.pid)
    rig.processes.signal(process.pid, Signal.STOP, by=ME)
    rig.processes.limit(process.pid, Limits(seconds=0), by=ME)
    await asyncio.sleep(0)
    assert call.outcome is None
    rig.processes.signal(process.pid, Signal.CONT, by=ME)
    with pytest.raises(QuotaExceeded, match="used up its seconds"):
        await call.result()


async def test_signals(rig: Any) -> None:
    """TERM cancels a process's calls, KILL also ends it, STOP holds what waits."""
    rig.add(hang, aadd)
    process = rig.processes.open(ME, "sh")
    call = rig.submit("test.hang", pid=process.pid)
    await asyncio.sleep(0)
    assert process.state == "running"
    rig.processes.signal(process.pid, Signal.TERM, by=ME)
    with pytest.raises(Cancelled, match="TERM from me"):
        await call.result()
    assert process.state == "idle"
    rig.processes.signal(process.pid, Signal.STOP, by=ME)
    held = rig.submit("test.aadd", arguments={"a": 1}, pid=process.pid)
    await asyncio.sleep(0)
    assert (held.state, process.state) == ("queued", "stopped")
    rig.processes.signal(process.pid, Signal.CONT, by=ME)
    assert await held.result() == 2
    call = rig.submit("test.hang", pid=process.pid)
    rig.processes.signal(process.pid, Signal.KILL, by=ME)
    with pytest.raises(Cancelled):
        await call.result()
    await refusal(rig.submit("test.hang", pid=process.pid), UnknownProcess)


async def test_time_stands_still_while_stopped(rig: Any) -> None:
    """A stopped process's calls do not run into their limits; when it goes on, they do."""
    rig.add(hang)
    process = rig.processes.open(ME, "sh")
    before = rig.submit("test.hang", pid=process.pid, timeout_s=0.02)
    rig.processes.signal(process.pid, Signal.STOP, by=ME)
    during = rig.submit("test.hang", pid=process.pid, timeout_s=0.02)
    other = rig.submit("test.hang", timeout_s=0.06)
    with pytest.raises(CallTimeout):
        await other.result()
    assert before.state == "running"
    assert during.state == "queued"
    rig.processes.signal(process.pid, Signal.CONT, by=ME)
    for call in (before, during):
        with pytest.raises(CallTimeout):
            await call.result()


async def test_account_and_audit(rig: Any) -> None:
    """Each call, refused ones too, is counted and recorded without its values."""
    rig.add(aadd)
    await rig.call("test.aadd", a=1)
    rig.submit("test.aadd", arguments={"a": "secret", "x" * 500: 1})
    rig.submit("nothing.here")
    outcomes = [record.outcome for record in rig.audit]
    assert outcomes == ["ok", "invalid_arguments", "unknown_syscall"]
    assert rig.audit[0].arguments == ("a",)
    assert "secret" not in str(rig.audit)
    assert len(rig.audit[1].arguments[1]) == 128
    assert [f.outcome for f in rig.dispatcher.books.finished(2)] == outcomes[1:]
    assert rig.dispatcher.books.finished()[0].syscall == "test.aadd"
    assert (rig.dispatcher.books.calls_total, rig.dispatcher.books.calls_failed) == (3, 2)
    assert rig.dispatcher.books.syscall_stats()["test.aadd"].calls == 2
    assert rig.dispatcher.books.timings()[0][0] == 2


class RecordingHooks:
    """Hooks that double an argument, refuse a number, and note each end."""

    watches_before = True
    watches_after = True

    def __init__(self) -> None:
        self.ends: list[Any] = []

    def before_syscall(self, info: Any, context: Any, arguments: dict[str, Any]) -> dict[str, Any]:
        """Look at a call."""
        if arguments["a"] == 13:
            raise NotPermitted("13 is unlucky")
        if arguments["a"] == 14:
            return {"a": "wrong"}
        return {**arguments, "a": arguments["a"] * 2}

    def after_syscall(self, info: Any, context: Any, outcome: Any) -> None:
        """Note how it ended."""
        self.ends.append(type(outcome))


async def test_hooks_around_a_call(make_rig: Callable[..., Any]) -> None:
    """A plugin may replace arguments, which are checked again, or refuse; it hears of each end."""
    hooks = RecordingHooks()
    rig = make_rig(hooks=hooks)
    rig.add(aadd)
    assert await rig.call("test.aadd", a=2) == 5
    with pytest.raises(NotPermitted, match="unlucky"):
        await rig.call("test.aadd", a=13)
    with pytest.raises(InvalidArguments):
        await rig.call("test.aadd", a=14)
    assert hooks.ends == [Result, Failure, Failure]


async def test_the_context_of_a_call(rig: Any) -> None:
    """A function sees who calls it, in which process, and how urgent that is."""

    @syscall("test.who", cost="io")
    async def who(context: Context) -> list[Any]:
        return [context.principal.name, context.pid, context.call_id, context.cancelled.is_set()]

    rig.add(who)
    process = rig.processes.open(ME, "sh", model="small")
    call = rig.submit("test.who", pid=process.pid)
    assert call.context.model == "small"
    assert call.context.priority == 0
    assert await call.result() == ["me", process.pid, call.call_id, False]


async def test_noop_is_quick(rig: Any) -> None:
    """The pipeline itself costs little: far below a millisecond, submit to result."""

    @syscall("test.noop", cost="io")
    async def noop() -> None:
        """Nothing."""

    rig.add(noop)
    times = []
    for _ in range(200):
        begun = time.perf_counter()
        await rig.call("test.noop")
        times.append(time.perf_counter() - begun)
    assert sorted(times)[100] < 0.002
