"""Pages held for agents and contexts, as the kernel sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lingos_kernel import syscall
from lingos_kernel.engine.messages import Generate, HoldPages, SetPriority
from lingos_kernel.errors import InvalidArguments, LingOSError, NotPermitted
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.testing import Prompt
from lingos_kernel.testing.scripted_kernel import EMBEDDER

ASK = [{"role": "user", "content": "Look it up, please, and tell me all about it."}]
TOOL_CALL = f"<tool_call>{json.dumps({'name': 'test.slow', 'arguments': {}})}</tool_call>"


class Tool:
    """A syscall that ends when the test says so."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.may_end = asyncio.Event()

    @syscall("test.slow", cost="io")
    async def slow(self) -> str:
        """Take as long as it takes."""
        self.has_begun.set()
        await self.may_end.wait()
        return "found"


def two_turns(prompt: Prompt) -> str:
    """Calls the tool, then answers."""
    return "Here it is." if "found" in prompt.text else TOOL_CALL


@pytest.fixture
async def kernel(make_kernel: Any) -> AsyncIterator[Kernel]:
    """A kernel whose model calls the tool once."""
    async with make_kernel(two_turns) as kernel:
        yield kernel


@pytest.fixture
def tool(kernel: Kernel) -> Tool:
    """The tool, registered."""
    tool = Tool()
    kernel.table.register(tool.slow, owner="test")
    return tool


def begin(kernel: Kernel, name: str, pid: int | None = None, /, **arguments: Any) -> Any:
    """A call by the kernel's owner."""
    me = kernel.processes.get(1).principal
    return kernel.submit(me, name, arguments, pid=pid, confirmed=True)


async def run(kernel: Kernel, name: str, pid: int | None = None, /, **arguments: Any) -> Any:
    """Its result."""
    return await begin(kernel, name, pid, **arguments).result()


def said(kernel: Kernel, kind: type[Any]) -> list[Any]:
    """What the engine was told, of one kind."""
    return [command for command in kernel.engine.commands if isinstance(command, kind)]  # type: ignore[attr-defined]


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    for _ in range(1000):
        if is_so():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came")


async def all_released(kernel: Kernel) -> None:
    """Let the loop turn until the engine holds nothing."""
    await until(lambda: kernel.engine.stats.holds == ())


async def opened(kernel: Kernel) -> int:
    """The pid of a new agent."""
    return int((await run(kernel, "proc.open", command="agent", kind="agent"))["pid"])


async def asking(kernel: Kernel, tool: Tool, pid: int | None = None) -> Any:
    """A chat whose tool is running."""
    chat = begin(kernel, "llm.chat", pid, messages=ASK, tools=["test.*"])
    await tool.has_begun.wait()
    return chat


async def test_an_agents_pages_stay_while_its_tool_runs(kernel: Kernel, tool: Tool) -> None:
    """They are held under the tool's name, count for the agent, and the next turn takes them."""
    pid = await opened(kernel)
    chat = await asking(kernel, tool, pid)
    (hold,) = said(kernel, HoldPages)
    first = said(kernel, Generate)[-1]
    assert hold.tokens[: len(first.prompt_ids)] == first.prompt_ids
    assert (hold.pid, hold.why, hold.after) == (pid, "test.slow", first.request_id)
    assert kernel.processes.get(pid).used.pages == len(hold.tokens) // 16
    tool.may_end.set()
    assert (await chat.result())["text"] == "Here it is."
    assert said(kernel, Generate)[-1].hold_id == hold.hold_id
    assert kernel.processes.get(pid).used.pages == 0
    await all_released(kernel)


async def test_the_snapshot_tells_of_holds(kernel: Kernel, tool: Tool) -> None:
    """Whose they are, why, how many pages, and until when."""
    pid = await opened(kernel)
    chat = await asking(kernel, tool, pid)
    (hold,) = said(kernel, HoldPages)
    (row,) = (await kernel.snapshot()).holds
    assert (row.pid, row.why, row.pages) == (pid, "test.slow", len(hold.tokens) // 16)
    assert row.left_s is not None
    assert 0 < row.left_s <= 2.0
    tool.may_end.set()
    await chat.result()


@pytest.mark.parametrize("how", ["cancel", "kill"])
async def test_a_hold_ends_with_its_call_and_its_process(
    kernel: Kernel, tool: Tool, how: str
) -> None:
    """The client goes away, or the agent is killed, while the tool runs."""
    pid = await opened(kernel)
    chat = await asking(kernel, tool, pid)
    assert len(said(kernel, HoldPages)) == 1
    if how == "cancel":
        chat.cancel("the client went away")
    else:
        kernel.processes.close(pid)
    with pytest.raises(LingOSError):
        await chat.result()
    await all_released(kernel)


async def test_a_dead_engine_holds_nothing(kernel: Kernel, tool: Tool) -> None:
    """The pages are gone with it; the next turn computes them again."""
    chat = await asking(kernel, tool)
    kernel.engine.crash()  # type: ignore[attr-defined]
    tool.may_end.set()
    assert (await chat.result())["text"] == "Here it is."
    assert kernel.engine.stats.holds == ()


async def test_nothing_is_held_when_that_is_turned_off(make_kernel: Any, tmp_path: Any) -> None:
    """`engine.max_hold_s = 0`."""
    from lingos_kernel.testing import ScriptedEngine
    from lingos_kernel.testing.scripted_kernel import scripted_kernel

    engine = ScriptedEngine(two_turns)
    settings = {"engine.max_hold_s": 0}
    async with scripted_kernel(tmp_path, engine=engine, settings=settings) as kernel:
        tool = Tool()
        kernel.table.register(tool.slow, owner="test")
        tool.may_end.set()
        await run(kernel, "llm.chat", messages=ASK, tools=["test.*"])
        assert said(kernel, HoldPages) == []


async def context(kernel: Kernel, pid: int | None = None) -> list[int]:
    """A context `talk`, and its tokens."""
    await run(kernel, "ctx.create", pid, name="talk", messages=ASK)
    shown = await run(kernel, "ctx.show", name="talk", token_ids=True)
    return list(shown["token_ids"])


async def test_a_context_is_held_on_request(kernel: Kernel) -> None:
    """What is missing is computed first; ctx.release ends it."""
    tokens = await context(kernel)
    held = await run(kernel, "ctx.hold", name="talk", seconds=30)
    pages = len(tokens) // 16
    assert held == {"name": "talk", "tokens": len(tokens), "pages": pages, "seconds": 30}
    assert said(kernel, Generate)[-1].prompt_ids == tuple(tokens)
    (hold,) = said(kernel, HoldPages)
    assert (hold.tokens, hold.for_s, hold.why) == (tuple(tokens), 30, "context talk")
    assert await run(kernel, "ctx.release", name="talk") == {"name": "talk", "released": True}
    assert await run(kernel, "ctx.release", name="talk") == {"name": "talk", "released": False}
    await all_released(kernel)


async def test_a_turn_takes_over_the_hold_of_its_context(kernel: Kernel) -> None:
    """Afterwards what it added is held, too, until the same time."""
    tokens = await context(kernel)
    await run(kernel, "ctx.hold", name="talk", seconds=30)
    (hold,) = said(kernel, HoldPages)
    await run(kernel, "llm.chat", context="talk", messages=ASK)
    assert said(kernel, Generate)[-1].hold_id == hold.hold_id
    newest = said(kernel, HoldPages)[-1]
    assert newest.tokens[: len(tokens)] == tuple(tokens)
    assert len(newest.tokens) > len(tokens)
    assert newest.hold_id != hold.hold_id
    assert 0 < newest.for_s <= 30


async def test_a_turn_holds_its_context_for_the_next_one(kernel: Kernel) -> None:
    """For programs that call their tools themselves."""
    pid = await opened(kernel)
    await context(kernel, pid)
    await run(kernel, "llm.chat", pid, context="talk", messages=ASK, hold_s=5)
    (hold,) = said(kernel, HoldPages)
    assert (hold.for_s, hold.pid) == (5, pid)
    assert hold.after == said(kernel, Generate)[-1].request_id
    kernel.processes.nice(pid, 7, by=kernel.processes.get(1).principal)
    await until(lambda: SetPriority(hold.hold_id, 7) in said(kernel, SetPriority))
    await run(kernel, "proc.close", pid=pid)
    await all_released(kernel)


async def test_a_turn_that_fails_ends_the_hold(kernel: Kernel) -> None:
    """Its pages may have been handed on; nothing stays behind."""
    await context(kernel)
    await run(kernel, "ctx.hold", name="talk", seconds=30)
    with pytest.raises(InvalidArguments):
        await run(kernel, "llm.chat", context="talk", messages=ASK, model=EMBEDDER)
    assert len(kernel.engine.stats.holds) == 1
    with pytest.raises(InvalidArguments):
        await run(kernel, "llm.chat", context="talk", messages=ASK, tools=["llm.*"], regex="a+")
    await all_released(kernel)


async def test_removing_a_context_ends_its_hold(kernel: Kernel) -> None:
    """Nobody can go on with it."""
    await context(kernel)
    await run(kernel, "ctx.hold", name="talk", seconds=30)
    await run(kernel, "ctx.remove", name="talk")
    await all_released(kernel)


async def test_only_who_may_change_a_context_holds_it(kernel: Kernel) -> None:
    """Pages are the owner's to keep."""
    await run(kernel, "ctx.create", name="mine", messages=ASK, shared=True)
    tenant = kernel.processes.get(1).principal.tenant
    other = Principal("bob", tenant, frozenset({"ctx.[!a]*", "llm.*"}))
    for name in ("ctx.hold", "ctx.release"):
        with pytest.raises(NotPermitted):
            await kernel.submit(other, name, {"name": "mine"}).result()


async def test_agents_of_one_session_are_programs_of_their_own(kernel: Kernel) -> None:
    """The scheduler sees the agent, whatever process of it asks."""
    session = (await run(kernel, "proc.open", command="shell"))["pid"]
    agents = [
        (await run(kernel, "proc.open", command="agent", kind="agent", parent=session))["pid"]
        for _ in range(2)
    ]
    for pid in (session, *agents):
        await run(kernel, "llm.chat", pid, messages=[{"role": "user", "content": "found"}])
    programs = [request.program for request in said(kernel, Generate)]
    assert programs == [str(pid) for pid in (session, *agents)]


async def test_a_stopped_agent_does_not_take_its_next_turn(kernel: Kernel, tool: Tool) -> None:
    """Stopped while its tool runs, it waits with the answer until it is told to go on."""
    pid = await opened(kernel)
    chat = await asking(kernel, tool, pid)
    await run(kernel, "proc.kill", pid=pid, signal="STOP")
    tool.may_end.set()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(said(kernel, Generate)) == 1
    await run(kernel, "proc.kill", pid=pid, signal="CONT")
    assert (await chat.result())["text"] == "Here it is."
