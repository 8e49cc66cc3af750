"""Contexts against a naive model: forks, cuts and continuations hold what copies would hold."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lingos_kernel.errors import (
    Busy,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    UnknownContext,
)
from lingos_kernel.processes.context_store import ContextStore
from lingos_kernel.processes.contexts import Conversation, Entry, Loaded
from lingos_kernel.security.principal import Principal, owner

ANN = Principal("ann", "a", frozenset({"ctx.*x"}))
BOB = Principal("bob", "a")
EVE = Principal("ann", "other")
ME = owner("root")


def said(text: str, end: int) -> Entry:
    """A message that ends there."""
    return Entry({"role": "user", "content": text}, end)


async def made(store: ContextStore, name: str, tokens: Sequence[int] = (), **options: Any) -> Any:
    """A context of Ann's with one message."""
    entries = [said("x", len(tokens))] if tokens else []
    given = {"model": "m", "model_id": "id", "tokens": tokens, "entries": entries}
    return await store.create(name, ANN, **{**given, **options})


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    """An empty store."""
    made = ContextStore(tmp_path / "contexts.db")
    yield made
    await made.close()


async def test_a_fork_shares_and_goes_its_own_way(store: ContextStore) -> None:
    """What either does after the fork is not seen by the other; nothing was copied."""
    await made(store, "a", [1, 2, 3, 4])
    fork = await store.fork("a", "b", ANN, at=3)
    assert (fork.length, fork.forked_from, fork.model) == (3, "a", "m")
    loaded = await store.load("b", ANN)
    assert loaded.conversation.tokens.tolist() == [1, 2, 3]
    assert loaded.conversation.cut is not None
    assert loaded.conversation.cut.whole.tolist() == [1, 2, 3, 4]
    source = await store.load("a", ANN)
    await store.extend(source, ANN, start=4, tokens=[9], entries=[said("y", 5)])
    assert (await store.load("b", ANN)).conversation == loaded.conversation
    assert (await store.load("a", ANN)).conversation.tokens.tolist() == [1, 2, 3, 4, 9]


async def test_names(store: ContextStore) -> None:
    """A name is taken once per tenant; wrong ones are told with near ones."""
    await made(store, "story")
    with pytest.raises(InvalidArguments, match="already"):
        await made(store, "story")
    await store.create("story", EVE, model="m", model_id="id")
    for name in ("", " a", "a b", "../a", "x" * 129, "a\n"):
        with pytest.raises(InvalidArguments, match="no name"):
            await made(store, name)
    with pytest.raises(UnknownContext, match="did you mean story"):
        await store.load("storx", ANN)
    with pytest.raises(UnknownContext):
        await store.fork("nothing", "b", ANN)
    with pytest.raises(InvalidArguments, match="has 0 tokens, it cannot be cut at 1"):
        await store.fork("story", "b", ANN, at=1)
    with pytest.raises(InvalidArguments, match="cut at 7"):
        await store.truncate("story", 7, ANN)


async def test_whose_is_whose(store: ContextStore) -> None:
    """Contexts are private; shared ones are read and forked by the tenant, not changed."""
    await made(store, "a", [1, 2])
    with pytest.raises(NotPermitted, match="belongs to ann"):
        await store.load("a", BOB)
    assert await store.heads(BOB) == []
    with pytest.raises(UnknownContext):
        await store.fork("a", "b", Principal("eve", "other"))
    await store.share("a", True, ANN)
    loaded = await store.load("a", BOB)
    assert [head.name for head in await store.heads(BOB)] == ["a"]
    for act in (
        store.truncate("a", 0, BOB),
        store.remove("a", BOB),
        store.share("a", False, BOB),
        store.extend(loaded, BOB, start=2, tokens=[3], entries=[said("y", 3)]),
    ):
        with pytest.raises(NotPermitted, match="fork it"):
            await act
    assert (await store.fork("a", "b", BOB)).owner == "bob"
    admin = replace(BOB, capabilities=frozenset({"ctx.admin"}))
    await store.share("a", False, admin)
    await store.remove("a", admin)


async def test_two_writers_are_told(store: ContextStore) -> None:
    """Who writes to what has changed meanwhile is refused, and nothing is left of it."""
    await made(store, "a", [1])
    first, second = await store.load("a", ANN), await store.load("a", ANN)
    await store.extend(first, ANN, start=1, tokens=[2], entries=[said("y", 2)])
    with pytest.raises(Busy, match="changed by somebody else"):
        await store.extend(second, ANN, start=1, tokens=[3], entries=[said("z", 2)])
    assert (await store.load("a", ANN)).conversation.tokens.tolist() == [1, 2]
    head = first.head
    with store.reserved(head), pytest.raises(Busy, match="another call"), store.reserved(head):
        pass
    with store.reserved(head):
        pass


async def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    """A file that is none is refused; a context with a hole says so, the others still work."""
    path = tmp_path / "contexts.db"
    path.write_bytes(b"not a database, certainly not" * 100)
    with pytest.raises(LingOSError, match="file of contexts"):
        ContextStore(path)
    path.unlink()
    store = ContextStore(path)
    await made(store, "a", [1, 2, 3])
    await made(store, "b", [4])
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE nodes SET tokens = x'0100' WHERE id = 1")
    connection.close()
    store = ContextStore(path)
    with pytest.raises(LingOSError, match="the context a is damaged"):
        await store.load("a", ANN)
    assert (await store.load("b", ANN)).conversation.tokens.tolist() == [4]
    await store.remove("a", ANN)
    await store.close()


@dataclass
class Copy:
    """A context as one would keep it without sharing: all of it, for itself."""

    tokens: list[int]
    entries: list[Entry]

    def cut(self, at: int) -> Copy:
        """A copy of the beginning; a message that is cut stays with its whole length."""
        ends = [entry.end for entry in self.entries]
        kept = next((i + 1 for i, end in enumerate(ends) if end >= at), 0) if at else 0
        return Copy(self.tokens[:at], self.entries[:kept])


NAMES = [f"c{number}" for number in range(5)]


class Tree(RuleBasedStateMachine):
    """Random families of contexts."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "contexts.db"
        self.runner = asyncio.Runner()
        self.store = self.runner.run(self.open())
        self.models: dict[str, Copy] = {}
        self.next_token = 0

    async def open(self) -> ContextStore:
        """The store on its file."""
        return ContextStore(self.path)

    def do(self, work: Any) -> Any:
        """Run an operation."""
        return self.runner.run(work)

    def teardown(self) -> None:
        """Without contexts there are no nodes left."""
        for name in list(self.models):
            self.do(self.store.remove(name, ANN))
        self.do(self.store.close())
        connection = sqlite3.connect(self.path)
        assert connection.execute("SELECT count(*) FROM nodes").fetchone() == (0,)
        connection.close()
        self.runner.close()
        self.folder.cleanup()

    def piece(self, start: int, lengths: list[int]) -> tuple[list[int], list[Entry]]:
        """New tokens, and messages of these lengths."""
        tokens, entries = [], []
        for length in lengths:
            tokens += range(self.next_token, self.next_token + length)
            self.next_token += length
            entries.append(said(f"m{self.next_token}", start + len(tokens)))
        return tokens, entries

    @rule(name=st.sampled_from(NAMES), lengths=st.lists(st.integers(1, 5), max_size=3))
    def create(self, name: str, lengths: list[int]) -> None:
        """Make one, unless the name is taken."""
        tokens, entries = self.piece(0, lengths)
        work = self.store.create(name, ANN, model="m", model_id="i", tokens=tokens, entries=entries)
        if name in self.models:
            with pytest.raises(InvalidArguments):
                self.do(work)
        else:
            self.do(work)
            self.models[name] = Copy(tokens, entries)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), to=st.sampled_from(NAMES))
    def fork(self, data: st.DataObject, to: str) -> None:
        """Fork one at any token."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        at = data.draw(st.integers(0, len(self.models[name].tokens)))
        if to not in self.models:
            self.do(self.store.fork(name, to, ANN, at=at))
            self.models[to] = self.models[name].cut(at)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        """Cut one at any token."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        at = data.draw(st.integers(0, len(self.models[name].tokens)))
        self.do(self.store.truncate(name, at, ANN))
        self.models[name] = self.models[name].cut(at)

    @precondition(lambda self: self.models)
    @rule(data=st.data(), lengths=st.lists(st.integers(1, 5), max_size=3), anew=st.booleans())
    def extend(self, data: st.DataObject, lengths: list[int], anew: bool) -> None:
        """Go on with one, behind its last whole message or from the beginning."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        loaded = self.do(self.store.load(name, ANN))
        start = 0 if anew else last_end(loaded.conversation)
        tokens, entries = self.piece(start, lengths)
        self.do(self.store.extend(loaded, ANN, start=start, tokens=tokens, entries=entries))
        before = self.models[name].cut(start)
        self.models[name] = Copy(before.tokens + tokens, before.entries + entries)

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Forget one."""
        name = data.draw(st.sampled_from(sorted(self.models)))
        self.do(self.store.remove(name, ANN))
        del self.models[name]

    @rule()
    def restart(self) -> None:
        """Open the file again."""
        self.do(self.store.close())
        self.store = self.do(self.open())

    @invariant()
    def all_hold_what_copies_would(self) -> None:
        """Tokens, messages and the cut of every context agree with its copy."""
        assert [head.name for head in self.do(self.store.heads(ANN))] == sorted(self.models)
        for name, model in self.models.items():
            loaded: Loaded = self.do(self.store.load(name, ANN))
            held = loaded.conversation
            assert held.tokens.tolist() == model.tokens
            whole = [entry for entry in model.entries if entry.end <= len(model.tokens)]
            assert list(held.entries) == whole
            assert (held.cut is not None) == (len(whole) < len(model.entries))
            if held.cut is not None:
                assert held.cut.message == model.entries[-1].message
                assert held.cut.start == last_end(held)
                assert held.cut.whole[: len(model.tokens) - held.cut.start] == array(
                    "I", model.tokens[held.cut.start :]
                )


def last_end(conversation: Conversation) -> int:
    """Where the last whole message ends."""
    return conversation.entries[-1].end if conversation.entries else 0


TestTree = Tree.TestCase
TestTree.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
