"""The syscalls of processes: waiting, trees, traces, limits and programs."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.builtins.generation import pages_needed, tokens_that_fit
from lingos_kernel.engine.messages import Generate
from lingos_kernel.errors import (
    CallTimeout,
    InvalidArguments,
    NotPermitted,
    QuotaExceeded,
    UnknownProcess,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.syscalls.events import Item, Result
from lingos_kernel.testing.scripted_kernel import scripted_kernel


async def opened(kernel: Kernel, **arguments: Any) -> int:
    """The pid of a new process of the owner."""
    return int((await kernel.call("proc.open", **{"command": "sh", **arguments}))["pid"])


async def test_wait_tells_why_a_process_ended(make_kernel: Any) -> None:
    """The waiter gets the reason and what was used; nobody waits for itself or for ever."""
    async with make_kernel() as kernel:
        pid = await opened(kernel)
        me = kernel.processes.get(1).principal
        waiting = kernel.submit(me, "proc.wait", {"pid": pid})
        await asyncio.sleep(0)
        await kernel.call("proc.kill", pid=pid, signal="KILL")
        ended = await waiting.result()
        assert ended["ended_why"] == f"killed by {me.name}"
        assert (await kernel.call("proc.wait", pid=pid)) == ended
        with pytest.raises(InvalidArguments, match="its own end"):
            await kernel.call("proc.wait", pid=1)
        with pytest.raises(CallTimeout):
            await kernel.call("proc.wait", pid=await opened(kernel), timeout_s=0)
        with pytest.raises(UnknownProcess):
            await kernel.call("proc.wait", pid=999)


async def test_tree_and_parents_end(make_kernel: Any) -> None:
    """The tree shows depths; a child ends with its parent when it was opened so."""
    async with make_kernel() as kernel:
        top = await opened(kernel, kind="agent")
        low = await opened(kernel, parent=top, on_parent_end="end")
        tree = {row["pid"]: row["depth"] for row in await kernel.call("proc.tree")}
        assert (tree[1], tree[top], tree[low]) == (0, 1, 2)
        assert (await kernel.call("proc.show", pid=low))["program"] == top
        await kernel.call("proc.close", pid=top)
        assert (await kernel.call("proc.wait", pid=low))["ended_why"].startswith("its parent")


async def traced(kernel: Kernel, by: Principal, pid: int, **arguments: Any) -> Any:
    """The events of a trace that has begun."""
    call = kernel.submit(by, "proc.trace", {"pid": pid, **arguments})
    while not call.is_running:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return call


async def test_trace_shows_every_call(make_kernel: Any) -> None:
    """Each call has a begin and an end line, with values, size and times."""
    async with make_kernel({"Hi": "abc"}) as kernel:
        me, pid = kernel.processes.get(1).principal, await opened(kernel)
        trace = await traced(kernel, me, pid)
        await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=pid).result()
        await kernel.submit(me, "llm.complete", {"prompt": "Hi"}).result()
        failing = kernel.submit(me, "llm.complete", {"prompt": ""}, pid=pid)
        assert failing.error
        await asyncio.gather(failing.result(), return_exceptions=True)
        await kernel.call("proc.close", pid=pid)
        async with aclosing(trace.events()) as events:
            lines = [event.data async for event in events if isinstance(event, Item)]
        shown = [(line["event"], line["syscall"]) for line in lines]
        assert shown == [("begin", "llm.complete"), ("end", "llm.complete")] * 2
        assert lines[0]["arguments"] == {"prompt": '"Hi"'}
        assert lines[1]["outcome"] == "ok"
        assert lines[1]["result_bytes"] > 10
        assert lines[1]["run_s"] >= 0
        assert (lines[3]["outcome"], lines[3]["result_bytes"]) == ("empty_prompt", 0)


async def test_trace_follows_children_and_nested_calls(make_kernel: Any) -> None:
    """Nested calls stand below their caller; with follow, the descendants' calls come too."""
    async with make_kernel() as kernel:
        me, top = kernel.processes.get(1).principal, await opened(kernel)
        low = await opened(kernel, parent=top)
        alone = await traced(kernel, me, top)
        both = await traced(kernel, me, top, follow=True, limit=2)
        await kernel.submit(me, "proc.list", pid=low).result()
        assert [line["pid"] for line in await both.result()] == [low, low]
        await kernel.call("proc.close", pid=top)
        assert await alone.result() == []


async def test_values_are_for_the_owner(make_kernel: Any) -> None:
    """An administrator sees the names of another's arguments alone; others may not trace."""
    async with make_kernel() as kernel:
        ann = Principal("ann", "a", frozenset({"proc.open", "llm.*"}))
        admin = Principal("root", "b", frozenset({"proc.*"}))
        bob = Principal("bob", "a", frozenset({"proc.trace"}))
        pid = kernel.processes.open(ann, "hers").pid
        with pytest.raises(NotPermitted):
            await kernel.submit(bob, "proc.trace", {"pid": pid}).result()
        trace = await traced(kernel, admin, pid, limit=1)
        await kernel.submit(ann, "llm.complete", {"prompt": "secret"}, pid=pid).result()
        lines = await trace.result()
        assert lines[0]["arguments"] == ["prompt"]
        assert "secret" not in repr(lines)


async def test_a_slow_reader_is_told_what_was_dropped(
    make_kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The buffer is bounded: the oldest lines go, and a line counts them."""
    monkeypatch.setattr("lingos_kernel.builtins.proc.TRACE_BOUND", 4)
    async with make_kernel() as kernel:
        me, pid = kernel.processes.get(1).principal, await opened(kernel)
        call = kernel.submit(me, "proc.trace", {"pid": pid})
        async with aclosing(call.events()) as events:
            await anext(events)
            while not call.is_running:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            # Nobody reads: the call's own buffer fills first, then the trace's.
            for _ in range(200):
                await kernel.submit(me, "proc.list", pid=pid).result()
            kernel.processes.close(pid)
            lines = [event.data async for event in events if isinstance(event, Item)]
        dropped = sum(line["count"] for line in lines if line["event"] == "dropped")
        assert dropped > 0
        assert dropped + sum(line["event"] != "dropped" for line in lines) == 400


async def test_requests_carry_their_program(make_kernel: Any) -> None:
    """What descendants of a process ask of the model is marked with the topmost pid."""
    async with make_kernel() as kernel:
        me, top = kernel.processes.get(1).principal, await opened(kernel, kind="agent")
        low = await opened(kernel, parent=top)
        await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=low).result()
        (request,) = [c for c in kernel.engine.commands if isinstance(c, Generate)]
        assert (request.pid, request.program) == (low, str(top))


async def test_tokens_and_pages_are_limits(make_kernel: Any) -> None:
    """An answer is cut at what is left; a prompt that does not fit is refused; pages return."""
    async with make_kernel({"Hi": "x" * 100}) as kernel:
        me, pid = kernel.processes.get(1).principal, await opened(kernel)

        async def complete() -> Any:
            return await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=pid).result()

        await kernel.call("proc.limit", pid=pid, tokens=12)
        assert (await complete())["usage"]["output_tokens"] == 10
        assert kernel.processes.get(pid).used.tokens == 12
        with pytest.raises(QuotaExceeded, match="12 of 12 tokens"):
            await complete()
        await kernel.call("proc.limit", pid=pid, pages=1)
        answer = await complete()
        assert (answer["usage"]["output_tokens"], answer["finish_reason"]) == (14, "length")
        assert kernel.processes.get(pid).used.pages == 0
        await kernel.call("proc.limit", pid=pid, pages=0)
        with pytest.raises(QuotaExceeded, match="0 KV pages"):
            await complete()


async def test_a_prompt_that_does_not_fit_names_whose_limit_it_is(make_kernel: Any) -> None:
    """The error of a child names the parent when the parent has too little left."""
    async with make_kernel({"Hi": "x"}) as kernel:
        me, top = kernel.processes.get(1).principal, await opened(kernel, kind="agent")
        low = await opened(kernel, parent=top)
        await kernel.call("proc.limit", pid=low, pages=9)
        for limit, left in (({"pages": 0}, "0 KV pages"), ({"tokens": 1}, "1 tokens")):
            await kernel.call("proc.limit", pid=top, **limit)
            with pytest.raises(QuotaExceeded, match=rf"the {left} that process {top} \("):
                await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=low).result()


async def test_calls_at_one_time_share_a_limit(make_kernel: Any) -> None:
    """Several answers together use no more than the limit, plus the step in which it is reached."""
    async with make_kernel({"Hi": "x" * 100}, step=True) as kernel:
        me, pid = kernel.processes.get(1).principal, await opened(kernel)
        await kernel.call("proc.limit", pid=pid, tokens=40)
        calls = [kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=pid) for _ in range(3)]
        while any(call.outcome is None for call in calls):
            kernel.engine.step()
            await asyncio.sleep(0)
        for call in calls:
            with pytest.raises(QuotaExceeded, match="of 40 tokens"):
                await call.result()
        assert 40 <= kernel.processes.get(pid).used.tokens < 40 + len(calls)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("prompt", [1, 15, 16, 17, 100])
def test_the_most_that_fits_fits(prompt: int, n: int) -> None:
    """As many tokens as fit take no more pages than there are, and one more takes more."""
    for pages in range(60):
        most = tokens_that_fit(prompt, pages, n)
        if most >= 0:
            assert pages_needed(prompt, most, n) <= pages
            assert pages_needed(prompt, most + 1, n) > pages


async def test_result_of_a_trace_is_its_lines(make_kernel: Any) -> None:
    """Without a reader of events the lines are the result."""
    async with make_kernel() as kernel:
        me, pid = kernel.processes.get(1).principal, await opened(kernel)
        trace = await traced(kernel, me, pid)
        kernel.processes.close(pid)
        assert await trace.result() == []
        assert isinstance(trace.outcome, Result)


async def test_processes_outlive_the_kernel(tmp_path: Path) -> None:
    """Opened processes keep pid, limits, use and stop; who belongs to a connection is gone."""
    async with scripted_kernel(tmp_path) as kernel:
        me, top = kernel.processes.get(1).principal, await opened(kernel, kind="agent")
        low = await opened(kernel, parent=top)
        kernel.processes.open(me, "belongs to a connection")
        await kernel.call("proc.limit", pid=top, tokens=10)
        await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=low).result()
        await kernel.call("proc.kill", pid=low, signal="STOP")
        before = [await kernel.call("proc.show", pid=pid) for pid in (top, low)]
    async with scripted_kernel(tmp_path) as kernel:
        rows = {row["pid"]: row["state"] for row in await kernel.call("proc.list")}
        assert (rows[top], rows[low], len(rows)) == ("idle", "stopped", 3)
        after = [await kernel.call("proc.show", pid=pid) for pid in (top, low)]
        for name in ("limits", "used", "parent", "command", "kind", "program"):
            assert [row[name] for row in after] == [row[name] for row in before]
        held = kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=low)
        await asyncio.sleep(0)
        assert held.state == "queued"
        await kernel.call("proc.kill", pid=low, signal="CONT")
        assert (await held.result())["usage"]["output_tokens"] == 3
        with pytest.raises(QuotaExceeded):
            await kernel.submit(me, "llm.complete", {"prompt": "Hi"}, pid=low).result()
        assert await opened(kernel) > low
