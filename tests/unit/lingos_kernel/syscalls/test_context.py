"""Nested calls: the same pipeline, the same caller, never a deadlock."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lingos_kernel import Context, Principal, syscall
from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    ConfirmationRequired,
    InvalidArguments,
    NotPermitted,
    QuotaExceeded,
    SyscallFailed,
    UsageError,
)
from lingos_kernel.processes import Limits
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.admission import Bounds
from lingos_kernel.syscalls.events import Item, Result

LIMIT_S = 20.0
ME = owner("me")


@syscall("test.one", cost="io")
async def one(n: int) -> int:
    """Answer on the loop."""
    return n + 1


@syscall("test.one_sync")
def one_sync(n: int) -> int:
    """Answer on a thread."""
    return n + 1


@syscall("test.hang", cost="io")
async def hang() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


@syscall("test.down")
def down(context: Context, n: int) -> int:
    """Nest n deep, thread in thread."""
    return context.call_sync("test.down", n=n - 1) + 1 if n else 0


@syscall("test.adown", cost="io")
async def adown(context: Context, n: int) -> int:
    """Nest n deep, on the loop and on threads in turn."""
    return await context.call("test.down_mixed", n=n - 1) + 1 if n else 0


@syscall("test.down_mixed")
def down_mixed(context: Context, n: int) -> int:
    """The other half of `adown`."""
    return context.call_sync("test.adown", n=n - 1) + 1 if n else 0


async def test_nested_calls_share_caller_and_process(rig: Any) -> None:
    """A nested call has the caller's principal and pid, and names its parent."""

    @syscall("test.outer", cost="io")
    async def outer(context: Context) -> list[Any]:
        nested = context.start("test.inner", {})
        assert nested.parent.call_id == context.call_id
        return [await nested.result(), context.pid]

    @syscall("test.inner", cost="io")
    async def inner(context: Context) -> list[Any]:
        return [context.principal.name, context.pid]

    rig.add(outer, inner)
    process = rig.processes.open(ME, "sh")
    inner_saw, outer_pid = await rig.submit("test.outer", pid=process.pid).result()
    assert inner_saw == ["me", outer_pid]
    assert [record.parent_id != "" for record in rig.audit] == [True, False]


async def test_never_more_capabilities(rig: Any) -> None:
    """What the caller may not do, its syscalls may not do for it."""

    @syscall("open.door", cost="io")
    async def door(context: Context) -> Any:
        return await context.call("secret.room")

    @syscall("secret.room", cost="io")
    async def room() -> str:
        return "gold"

    rig.add(door, room)
    guest = Principal("guest", capabilities=frozenset({"open.*"}))
    assert await rig.call("open.door") == "gold"
    with pytest.raises(NotPermitted, match="guest may not call secret"):
        await rig.submit("open.door", by=guest).result()


@pytest.mark.parametrize("name", ["test.down", "test.adown"])
async def test_nesting_never_deadlocks(make_rig: Callable[..., Any], name: str) -> None:
    """Deep nesting passes although pool and bounds are far smaller than its depth."""
    rig = make_rig(bounds=Bounds(running=1, queued=4))
    rig.pool.maximum = 2
    rig.add(down, adown, down_mixed)
    calls = [rig.submit(name, arguments={"n": 20}) for _ in range(4)]
    async with asyncio.timeout(LIMIT_S):
        assert [await call.result() for call in calls] == [20] * 4


async def test_depth_is_bounded(make_rig: Callable[..., Any]) -> None:
    """Endless recursion ends in a clear error."""
    rig = make_rig(depth=5)
    rig.add(down)
    assert await rig.call("test.down", n=4) == 4
    with pytest.raises(InvalidArguments, match="nested 5 deep"):
        await rig.call("test.down", n=5)


async def test_stream_and_errors_of_nested_calls(rig: Any) -> None:
    """Nested events come through; a nested error is raised as what it is."""

    @syscall("test.pieces", cost="io")
    async def pieces() -> AsyncIterator[int]:
        yield 1
        yield 2

    @syscall("test.relay", cost="io")
    async def relay(context: Context) -> list[Any]:
        return [e.data async for e in context.stream("test.pieces") if isinstance(e, Item | Result)]

    @syscall("test.outer")
    def outer(context: Context) -> str:
        try:
            context.call_sync("test.bad")
        except SyscallFailed as error:
            return str(error)
        return "no error"

    @syscall("test.bad")
    def bad() -> None:
        raise ValueError("no")

    rig.add(pieces, relay, outer, bad)
    assert await rig.call("test.relay") == [1, 2, [1, 2]]
    assert "ValueError: no" in await rig.call("test.outer")


async def test_map_keeps_order_and_its_bound(rig: Any) -> None:
    """Results come in the order of the arguments, at most `parallel` at a time."""
    running, most = [0], [0]

    @syscall("test.slowly", cost="io")
    async def slowly(n: int) -> int:
        running[0] += 1
        most[0] = max(most[0], running[0])
        for _ in range(20 - n):
            await asyncio.sleep(0)
        running[0] -= 1
        return n

    @syscall("test.all")
    def everything(context: Context, parallel: int) -> list[int]:
        given = [{"n": n} for n in range(20)]
        return context.map_sync("test.slowly", given, parallel=parallel)

    rig.add(slowly, everything)
    for parallel in (3, 0, 50):
        most[0] = 0
        assert await rig.call("test.all", parallel=parallel) == list(range(20))
        assert most[0] <= max(parallel, 1)


async def test_map_stops_at_the_first_error(rig: Any) -> None:
    """The first error is raised and the calls beside it are cancelled."""

    @syscall("test.some", cost="io")
    async def some(n: int) -> None:
        if n == 1:
            raise ValueError("one is wrong")
        await asyncio.Event().wait()

    @syscall("test.all")
    def everything(context: Context) -> None:
        context.map_sync("test.some", [{"n": n} for n in range(10)], parallel=4)

    rig.add(some, everything)
    with pytest.raises(SyscallFailed, match="one is wrong"):
        await rig.call("test.all")


@pytest.mark.parametrize("name", ["test.wait", "test.wait_sync"])
async def test_cancel_reaches_the_children(rig: Any, name: str) -> None:
    """Cancelling a call cancels the calls that it waits for, at any depth, and frees its thread."""

    @syscall("test.wait", cost="io")
    async def wait(context: Context) -> None:
        await context.call("test.wait_sync")

    @syscall("test.wait_sync")
    def wait_sync(context: Context) -> None:
        context.call_sync("test.hang")

    rig.add(wait, wait_sync, hang)
    call = rig.submit(name)
    while not any(row.syscall == "test.hang" for row in rig.dispatcher.calls()):
        await asyncio.sleep(0)
    call.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        await call.result()
    assert rig.dispatcher.calls() == []
    async with asyncio.timeout(LIMIT_S):
        while rig.dispatcher.stats().strays:
            await asyncio.sleep(0)


async def test_calls_left_behind_are_cancelled(rig: Any) -> None:
    """A nested call that nobody waited for ends with the call that began it."""

    @syscall("test.leave", cost="io")
    async def leave(context: Context) -> None:
        context.start("test.hang", {})

    rig.add(leave, hang)
    await rig.call("test.leave")
    assert rig.dispatcher.calls() == []
    assert {record.syscall: record.outcome for record in rig.audit} == {
        "test.leave": "ok",
        "test.hang": "cancelled",
    }


async def test_the_parents_limit_holds_below(rig: Any) -> None:
    """A nested call ends when the time of the call above is over."""

    @syscall("test.short", cost="io", timeout_s=0.02)
    async def short(context: Context) -> None:
        await context.call("test.hang")

    rig.add(short, hang)
    with pytest.raises(CallTimeout, match=r"test\.short"):
        await rig.call("test.short")
    assert [(r.syscall, r.outcome) for r in rig.audit] == [
        ("test.hang", "cancelled"),
        ("test.short", "timeout"),
    ]


async def test_calls_of_a_call_that_has_ended(rig: Any) -> None:
    """A thread that was given up cannot begin anything more."""
    gate, told = threading.Event(), []

    @syscall("test.zombie", timeout_s=0.02)
    def zombie(context: Context) -> None:
        gate.wait(LIMIT_S)
        try:
            context.call_sync("test.one", n=1)
        except Cancelled as error:
            told.append(str(error))

    rig.add(zombie, one)
    with pytest.raises(CallTimeout):
        await rig.call("test.zombie")
    gate.set()
    async with asyncio.timeout(LIMIT_S):
        while not told:
            await asyncio.sleep(0.001)
    assert "has been ended" in told[0]


async def test_wrong_kind_of_nested_call(rig: Any) -> None:
    """Blocking calls on the loop, and async ones on a thread, say what to use instead."""

    @syscall("test.blocks", cost="io")
    async def blocks(context: Context) -> None:
        context.call_sync("test.one", n=1)

    @syscall("test.asyncs")
    def asyncs(context: Context) -> None:
        asyncio.run(context.call("test.one", n=1))

    rig.add(blocks, asyncs, one)
    with pytest.raises(UsageError, match=r"event loop.*context\.call"):
        await rig.call("test.blocks")
    with pytest.raises(UsageError, match=r"pool thread.*context\.call_sync"):
        await rig.call("test.asyncs")


async def test_tool_calls(rig: Any) -> None:
    """A tool call is the model's: counted, kept to the grants, and not covered by a yes."""

    @syscall("test.agent", cost="io", confirm=True)
    async def agent(context: Context, tool: str, grants: list[str]) -> Any:
        return await context.start_tool(tool, {}, grants=frozenset(grants)).result()

    @syscall("test.code", cost="io", confirm=True)
    async def code(context: Context) -> str:
        return await context.call("test.wipe")

    @syscall("test.wipe", cost="io", confirm=True)
    async def wipe(context: Context) -> str:
        return context.principal.kind

    @syscall("test.kind", cost="io")
    async def kind(context: Context) -> str:
        return context.principal.kind

    rig.add(agent, code, wipe, kind)
    process = rig.processes.open(ME, "agent", limits=Limits(tool_calls=3))

    async def run(tool: str, grants: list[str]) -> Any:
        arguments = {"tool": tool, "grants": grants}
        given = {"arguments": arguments, "pid": process.pid, "confirmed": True}
        return await rig.submit("test.agent", **given).result()

    assert await run("test.kind", ["test.*"]) == "model"
    with pytest.raises(NotPermitted):
        await run("test.kind", ["other.*"])
    with pytest.raises(ConfirmationRequired):
        await run("test.wipe", ["*"])
    assert process.used.tool_calls == 1
    assert await rig.submit("test.code", confirmed=True).result() == "code"
    await run("test.kind", ["*"])
    await run("test.kind", ["*"])
    with pytest.raises(QuotaExceeded, match="3 of 3 tool calls"):
        await run("test.kind", ["*"])


async def test_charging_the_process(rig: Any) -> None:
    """A syscall charges tokens and sees what is left."""

    @syscall("test.use", cost="io")
    async def use(context: Context) -> Any:
        context.charge(tokens=4)  # type: ignore[attr-defined]
        return context.remaining().tokens  # type: ignore[attr-defined]

    rig.add(use)
    process = rig.processes.open(ME, "x", limits=Limits(tokens=10))
    assert await rig.submit("test.use", pid=process.pid).result() == 6
