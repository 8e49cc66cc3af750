"""`ctx.*` and going on with contexts in `llm.chat` and `llm.complete`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import Generate
from lingos_kernel.errors import (
    Busy,
    Cancelled,
    ConfirmationRequired,
    DamagedFile,
    InvalidArguments,
    NotPermitted,
    UnknownContext,
    UnknownModel,
)
from lingos_kernel.kernel import Kernel
from lingos_kernel.security.principal import Principal
from lingos_kernel.testing.scripted_kernel import EMBEDDER, MODEL, scripted_kernel

ANN = Principal("ann", "a", frozenset({"ctx.[!a]*", "llm.*"}))
BOB = Principal("bob", "a", frozenset({"ctx.[!a]*", "llm.*"}))


@pytest.fixture
async def kernel(make_kernel: Any) -> AsyncIterator[Kernel]:
    """A kernel whose model says the last user message again."""
    async with make_kernel() as kernel:
        yield kernel


async def call(kernel: Kernel, name: str, by: Principal | None = None, /, **arguments: Any) -> Any:
    """The result of a call from outside."""
    me = by or kernel.processes.get(1).principal
    return await kernel.submit(me, name, arguments, confirmed=True).result()


def user(text: str) -> dict[str, str]:
    """What a person says."""
    return {"role": "user", "content": text}


def prompts(kernel: Kernel) -> list[list[int]]:
    """What the engine was asked."""
    return [list(c.prompt_ids) for c in kernel.engine.commands if isinstance(c, Generate)]


async def test_a_chat_goes_on_in_its_context(kernel: Kernel) -> None:
    """Each turn's prompt begins with all tokens so far; the answer is added with its end."""
    await call(kernel, "ctx.create", name="talk", messages=[{"role": "system", "content": "S"}])
    first = await call(kernel, "llm.chat", context="talk", messages=[user("one")])
    assert first["text"] == "one"
    shown = await call(kernel, "ctx.show", name="talk", token_ids=True)
    assert first["context"] == {"name": "talk", "tokens": shown["tokens"]}
    assert [m["content"] for m in shown["messages"]] == ["S", "one", "one"]
    assert shown["messages"][-1]["end"] == shown["tokens"] == len(shown["token_ids"])
    await call(kernel, "llm.chat", context="talk", messages=[user("two")])
    assert prompts(kernel)[1][: shown["tokens"]] == shown["token_ids"]
    assert (await call(kernel, "ctx.list"))[0]["name"] == "talk"


async def test_the_process_remembers_its_context(kernel: Kernel) -> None:
    """proc.show tells which conversation a process went on with last."""
    pid = (await call(kernel, "proc.open", command="chat"))["pid"]
    await call(kernel, "ctx.create", name="talk")
    me = kernel.processes.get(1).principal
    arguments = {"context": "talk", "messages": [user("one")]}
    await kernel.submit(me, "llm.chat", arguments, pid=pid).result()
    assert (await call(kernel, "proc.show", pid=pid))["context"] == "talk"


async def test_forks_go_their_own_ways(kernel: Kernel) -> None:
    """A fork at any token goes on from there; its source stays as it is."""
    await call(kernel, "ctx.create", name="a")
    await call(kernel, "llm.chat", context="a", messages=[user("abcdef")])
    before = await call(kernel, "ctx.show", name="a", token_ids=True)
    fork = await call(kernel, "ctx.fork", name="a", to="b", at=before["tokens"] - 4)
    assert (fork["forked_from"], fork["tokens"]) == ("a", before["tokens"] - 4)
    shown = await call(kernel, "ctx.show", name="b")
    assert shown["messages"][-1] == {
        "role": "assistant", "content": "abc", "end": fork["tokens"], "whole": False,
    }  # fmt: skip
    await call(kernel, "llm.chat", context="b", messages=[user("next")])
    assert prompts(kernel)[-1][: fork["tokens"]] == before["token_ids"][: fork["tokens"]]
    assert await call(kernel, "ctx.show", name="a", token_ids=True) == before
    contents = [m["content"] for m in (await call(kernel, "ctx.show", name="b"))["messages"]]
    assert contents == ["abcdef", "abc", "next", "next"]


async def test_texts_go_on_too(kernel: Kernel) -> None:
    """llm.complete adds its piece; a text takes no chat; a conversation takes a piece."""
    await call(kernel, "ctx.create", name="story", text="Once")
    done = await call(kernel, "llm.complete", context="story", prompt=" upon", max_tokens=3)
    assert done["text"] == "Onc"
    assert done["context"]["tokens"] == 12
    with pytest.raises(InvalidArguments, match=r"is a text.*llm\.complete"):
        await call(kernel, "llm.chat", context="story", messages=[user("x")])
    await call(kernel, "ctx.append", name="story", text="!")
    assert (await call(kernel, "ctx.show", name="story"))["messages"][-1]["content"] == "!"
    await call(kernel, "ctx.create", name="talk", messages=[user("x")])
    await call(kernel, "llm.complete", context="talk", max_tokens=1)
    await call(kernel, "ctx.append", name="talk", messages=[user("more")])
    answer = await call(kernel, "llm.chat", context="talk")
    assert answer["text"] == "more"


async def test_a_broken_off_answer_goes_on(kernel: Kernel) -> None:
    """Without new messages the model goes on where a limit stopped it."""
    await call(kernel, "ctx.create", name="talk")
    ask = {"context": "talk", "messages": [user("abcdef")], "max_tokens": 3}
    assert (await call(kernel, "llm.chat", **ask))["text"] == "abc"
    await call(kernel, "llm.chat", context="talk", max_tokens=2)
    assert prompts(kernel)[1] == prompts(kernel)[0] + list(b"abc")
    shown = await call(kernel, "ctx.show", name="talk")
    assert [m["role"] for m in shown["messages"]] == ["user", "assistant", "text"]


async def test_what_ends_badly_changes_nothing(make_kernel: Any) -> None:
    """A call that fails or is cancelled leaves the context as it was, and free."""
    async with make_kernel({"Hi": "abc"}, step=True) as kernel:
        await call(kernel, "ctx.create", name="talk")
        me = kernel.processes.get(1).principal
        ask = {"context": "talk", "messages": [user("Hi")]}
        running = kernel.submit(me, "llm.chat", ask)
        while not prompts(kernel):
            await asyncio.sleep(0)
        with pytest.raises(Busy, match="another call goes on"):
            await call(kernel, "llm.chat", **ask)
        fork = await call(kernel, "ctx.fork", name="talk", to="other")
        assert fork["tokens"] == 0
        running.cancel()
        with pytest.raises(Cancelled):
            await running.result()
        assert (await call(kernel, "ctx.show", name="talk"))["tokens"] == 0
        head = await kernel.contexts.head("talk", me)
        with kernel.contexts.reserved(head):
            pass


async def test_a_context_that_changed_meanwhile_is_told(make_kernel: Any) -> None:
    """An answer for what is no longer there is not added."""
    async with make_kernel({"Hi": "abc"}, step=True) as kernel:
        await call(kernel, "ctx.create", name="talk", messages=[user("x")])
        me = kernel.processes.get(1).principal
        running = kernel.submit(me, "llm.chat", {"context": "talk", "messages": [user("Hi")]})
        while not prompts(kernel):
            await asyncio.sleep(0)
        await call(kernel, "ctx.truncate", name="talk", at=0)
        while running.outcome is None:
            kernel.engine.step()
            await asyncio.sleep(0)
        with pytest.raises(Busy, match="changed by somebody else"):
            await running.result()
        assert (await call(kernel, "ctx.show", name="talk"))["messages"] == []


async def test_tools_in_a_context(make_kernel: Any) -> None:
    """Tool calls and their results are kept as messages."""
    tool = '<tool_call>{"name": "sys.config", "arguments": {}}</tool_call>'

    def script(prompt: Any) -> str:
        return "done" if "tool\n" in prompt.text else tool

    async with make_kernel(script) as kernel:
        await call(kernel, "ctx.create", name="talk")
        ask = {"context": "talk", "messages": [user("go")], "tools": ["sys.config"]}
        assert (await call(kernel, "llm.chat", **ask))["text"] == "done"
        shown = await call(kernel, "ctx.show", name="talk")
        roles = [message["role"] for message in shown["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant"]
        first, second = prompts(kernel)
        assert second[: len(first)] == first


async def test_bad_input_is_told(kernel: Kernel, tmp_path: Path) -> None:
    """Unknown names, cuts beyond the end, other models, several answers: each with its hint."""
    await call(kernel, "ctx.create", name="talk", messages=[user("x")])
    for name, arguments in (
        ("llm.chat", {"context": "tolk"}),
        ("llm.complete", {"context": "tolk", "prompt": "x"}),
        ("ctx.show", {"name": "tolk"}),
        ("ctx.fork", {"name": "tolk", "to": "b"}),
    ):
        with pytest.raises(UnknownContext, match="did you mean talk"):
            await call(kernel, name, **arguments)
    with pytest.raises(InvalidArguments, match="cannot be cut at 999"):
        await call(kernel, "ctx.fork", name="talk", to="b", at=999)
    with pytest.raises(InvalidArguments, match="already"):
        await call(kernel, "ctx.fork", name="talk", to="talk")
    with pytest.raises(InvalidArguments, match=f"belongs to the model {MODEL}, not to {EMBEDDER}"):
        await call(kernel, "llm.chat", context="talk", model=EMBEDDER)
    with pytest.raises(UnknownModel):
        await call(kernel, "llm.chat", context="talk", model="nothing")
    with pytest.raises(InvalidArguments, match="one answer"):
        await call(kernel, "llm.chat", context="talk", n=2)
    with pytest.raises(InvalidArguments, match="cannot be combined"):
        await call(kernel, "ctx.append", name="talk", messages=[user("y")], text="z")
    with pytest.raises(InvalidArguments, match="no name"):
        await call(kernel, "ctx.create", name="../x")
    assert prompts(kernel) == []


async def test_contexts_are_private(kernel: Kernel) -> None:
    """Another principal of the tenant needs them shared, and then can fork, not change."""
    await call(kernel, "ctx.create", ANN, name="hers", messages=[user("x")])
    with pytest.raises(NotPermitted):
        await call(kernel, "ctx.show", BOB, name="hers")
    await call(kernel, "ctx.share", ANN, name="hers")
    assert [row["name"] for row in await call(kernel, "ctx.list", BOB)] == ["hers"]
    with pytest.raises(NotPermitted, match="fork it"):
        await call(kernel, "llm.chat", BOB, context="hers")
    await call(kernel, "ctx.fork", BOB, name="hers", to="his")
    assert (await call(kernel, "llm.chat", BOB, context="his"))["text"] == "x"
    with pytest.raises(UnknownContext):
        await call(kernel, "ctx.show", name="hers")  # the owner's own tenant is another one


async def test_removing_asks_first(kernel: Kernel) -> None:
    """A context is forgotten for good only with a yes."""
    await call(kernel, "ctx.create", name="talk", text="x")
    await call(kernel, "ctx.fork", name="talk", to="b")
    with pytest.raises(ConfirmationRequired):
        await kernel.call("ctx.remove", name="talk")
    await call(kernel, "ctx.remove", name="talk")
    assert [row["name"] for row in await call(kernel, "ctx.list")] == ["b"]
    assert (await call(kernel, "ctx.show", name="b"))["tokens"] == 1


async def test_saving_and_opening(kernel: Kernel, tmp_path: Path) -> None:
    """A saved context comes back token by token, below the data folder or anywhere."""
    await call(kernel, "ctx.create", name="a/b", messages=[user("abc")])
    await call(kernel, "ctx.fork", name="a/b", to="cut", at=8)
    for name in ("a/b", "cut"):
        before = await call(kernel, "ctx.show", name=name, token_ids=True)
        saved = await call(kernel, "ctx.save", name=name)
        assert Path(saved["path"]).is_relative_to(kernel.config.paths.data_dir / "contexts")
        await call(kernel, "ctx.remove", name=name)
        opened = await call(kernel, "ctx.open", path=saved["path"])
        assert (opened["name"], opened["tokens"]) == (name, before["tokens"])
        after = await call(kernel, "ctx.show", name=name, token_ids=True)
        assert after["token_ids"] == before["token_ids"]
        contents = [[m["content"] for m in x["messages"]] for x in (before, after)]
        assert contents[0] == contents[1]
    path = tmp_path / "x" / "mine.ctx"
    await call(kernel, "ctx.save", name="cut", path=str(path))
    await call(kernel, "ctx.open", path=str(path), name="again")
    with pytest.raises(InvalidArguments, match="already"):
        await call(kernel, "ctx.open", path=str(path))
    await call(kernel, "ctx.remove", name="cut")
    assert (await call(kernel, "ctx.open", path="cut"))["name"] == "cut"


async def test_saved_files_are_checked(kernel: Kernel, tmp_path: Path) -> None:
    """Damage, relative paths, and paths of callers who may name none are refused."""
    await call(kernel, "ctx.create", name="talk", text="x")
    path = tmp_path / "talk.ctx"
    await call(kernel, "ctx.save", name="talk", path=str(path))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DamagedFile, match="checksum"):
        await call(kernel, "ctx.open", path=str(path), name="b")
    with pytest.raises(InvalidArguments, match="not absolute"):
        await call(kernel, "ctx.save", name="talk", path="some/where.ctx")
    nobody = Principal("eve", "..", frozenset({"ctx.save", "ctx.open", "ctx.create"}))
    await call(kernel, "ctx.create", nobody, name="x", text="x")
    with pytest.raises(NotPermitted, match="may not name files"):
        await call(kernel, "ctx.save", nobody, name="x", path=str(tmp_path / "evil"))
    saved = await call(kernel, "ctx.save", nobody, name="x")
    assert Path(saved["path"]).parent.parent == kernel.config.paths.data_dir / "contexts"


async def test_contexts_survive_a_restart(tmp_path: Path) -> None:
    """What was said is there for the next kernel, token by token."""
    async with scripted_kernel(tmp_path) as kernel:
        await call(kernel, "ctx.create", name="talk")
        await call(kernel, "llm.chat", context="talk", messages=[user("one")])
        before = await call(kernel, "ctx.show", name="talk", token_ids=True)
    async with scripted_kernel(tmp_path) as kernel:
        assert await call(kernel, "ctx.show", name="talk", token_ids=True) == before
        await call(kernel, "llm.chat", context="talk", messages=[user("two")])
        assert prompts(kernel)[0][: before["tokens"]] == before["token_ids"]
