"""Stopped requests give their model's room to others, and go on as if nothing had been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.messages import Generate, ModelSpec, SamplingParams
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.stat_rows import SequenceStats
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.errors import CorruptModel, LingOSError, ModelInUse
from lingos_kernel.memory.footprint import Footprint
from lingos_kernel.testing import FakeClock, ScriptedEngine
from lingos_kernel.testing.scripted_core import PAGE_BYTES, PAGES, WEIGHT_BYTES

MODEL_BYTES = WEIGHT_BYTES + PAGES * PAGE_BYTES
POLICY = RestartPolicy(
    first_delay_s=0.0, max_delay_s=0.0, max_crashes=1000, poison_crashes=1000, suspect_crashes=3
)
TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich."
WHOLE = [*TEXT.encode(), 257]


@dataclass
class Reader:
    """A reader of one stream, and what it read so far."""

    task: asyncio.Task[None]
    ids: list[int] = field(default_factory=list)
    finishes: int = 0
    output_tokens: int = 0


class Bench:
    """A scripted engine that steps when told; models `a` and `b` echo, and one of them fits."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.inner = ScriptedEngine(
            is_automatic=False,
            clock=self.clock,
            settings=EngineSettings(max_running=2),
            restart=POLICY,
        )
        self.engine = BudgetedEngine(self.inner, memory_bytes=MODEL_BYTES, clock=self.clock)
        self.readers: dict[str, Reader] = {}
        for name in "ab":
            self.introduce(name)

    def introduce(self, name: str, path: str = "") -> None:
        """Know a model."""
        spec = ModelSpec(name=name, path=path)
        self.engine.introduce(spec, lambda dtype: Footprint(MODEL_BYTES, 0, 0))

    def ask(self, request_id: str) -> Reader:
        """Have the model echo that the id begins with."""
        params = SamplingParams(max_tokens=100)
        return self.read(
            request_id,
            lambda: self.engine.generate(
                Generate(request_id, request_id[0], tuple(TEXT.encode()), params, pid=7)
            ),
        )

    def fork(self, parent: str, request_id: str) -> Reader:
        """Branch a request."""
        return self.read(request_id, lambda: self.engine.fork(parent, request_id))

    def read(self, request_id: str, begin: Callable[[], Any]) -> Reader:
        """Read a stream in the background."""

        async def read() -> None:
            stream = begin()
            try:
                async for output in stream:
                    reader.ids += output.token_ids
                    if output.finish_reason is not None:
                        reader.finishes += 1
                        reader.output_tokens = output.usage.output_tokens
            finally:
                await stream.aclose()

        reader = self.readers[request_id] = Reader(asyncio.ensure_future(read()))
        return reader

    async def until(self, condition: Callable[[], object], *, steps: bool = True) -> None:
        """Let the loop turn, and the engine step, until something is so."""
        for _ in range(20_000):
            if condition():
                return
            if steps:
                self.inner.step()
            await asyncio.sleep(0)
        raise AssertionError("it does not come about")

    async def stop(self, request_id: str, *, after: int = 5) -> None:
        """Stop a request once it has said something."""
        await self.until(lambda: len(self.readers[request_id].ids) >= after)
        self.engine.pause(request_id)

    def row(self, request_id: str) -> SequenceStats:
        """What statistics say of a request."""
        (row,) = [row for row in self.engine.stats.sequences if row.request_id == request_id]
        return row


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """A bench that is started, and stopped in the end."""
    made = Bench()
    await made.engine.start()
    try:
        yield made
    finally:
        await made.engine.stop()
        tasks = [reader.task for reader in made.readers.values()]
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_another_model_has_the_room_of_a_stopped_one() -> None:
    """It answers; the stopped request is still seen, and goes on where it was."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        other = it.ask("b1")
        await it.until(other.task.done)
        assert other.ids == WHOLE
        assert set(it.engine.models) == {"b"}
        assert not stopped.task.done()
        assert (it.row("a1").state, it.row("a1").pid) == ("paused", 7)
        assert it.row("a1").output_tokens == len(stopped.ids) > 0
        it.engine.resume("a1")
        await it.until(stopped.task.done)
        assert (stopped.ids, stopped.finishes) == (WHOLE, 1)
        assert stopped.output_tokens == len(WHOLE)
        assert set(it.engine.models) == {"a"}


async def test_without_pressure_a_stopped_request_keeps_its_model() -> None:
    """Nothing is unloaded or computed again."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        it.clock.advance(1000.0)
        await it.until(lambda: it.engine.models)
        it.engine.resume("a1")
        await it.until(stopped.task.done)
        assert stopped.ids == WHOLE
        assert len([c for c in it.inner.commands if isinstance(c, Generate)]) == 1


async def test_a_model_stays_while_one_of_its_requests_runs() -> None:
    """Only when all are stopped the other model gets the room."""
    async with bench() as it:
        it.ask("a1")
        running = it.ask("a2")
        await it.stop("a1")
        other = it.ask("b1")
        await it.until(lambda: len(running.ids) > 10)
        assert set(it.engine.models) == {"a"}
        await it.stop("a2")
        await it.until(other.task.done)
        assert other.ids == WHOLE


async def test_who_goes_on_waits_while_the_other_model_answers() -> None:
    """It queues as anybody does, with its new priority; stopped again it lets others go first."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        it.ask("b1")
        await it.until(lambda: it.readers["b1"].ids)
        it.engine.resume("a1")
        it.engine.set_priority("a1", -3)
        await it.until(lambda: "a1" in it.engine.keeper.claims, steps=False)
        assert (it.row("a1").state, it.row("a1").priority) == ("waiting", -3)
        it.engine.pause("a1")
        assert it.row("a1").state == "paused"
        await it.until(it.readers["b1"].task.done)
        assert set(it.engine.models) == {"b"}
        it.engine.resume("a1")
        await it.until(stopped.task.done)
        assert stopped.ids == WHOLE
        sent = [c for c in it.inner.commands if isinstance(c, Generate) and c.request_id == "a1"]
        assert sent[-1].priority == -3


async def test_a_stopped_request_whose_model_left_can_be_killed() -> None:
    """While it is stopped, or waits to go on: nothing is loaded for it any more."""
    async with bench() as it:
        for request_id, goes_on in (("a1", False), ("a2", True)):
            stopped = it.ask(request_id)
            await it.stop(request_id)
            it.ask(f"b{request_id}")
            await it.until(lambda: "b" in it.engine.models)
            if goes_on:
                it.engine.resume(request_id)
            stopped.task.cancel()
            await asyncio.gather(stopped.task, return_exceptions=True)
            assert request_id not in it.engine.keeper.claims
            await it.until(it.readers[f"b{request_id}"].task.done)
            assert it.engine.stats.sequences == ()


async def test_a_model_that_cannot_come_back_fails_its_request() -> None:
    """With the error that loading it gave; until it goes on nothing is wrong with it."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        it.ask("b1")
        await it.until(it.readers["b1"].task.done)
        it.introduce("a", path="/nonexistent/model")
        broken = it.ask("a2")
        await it.until(broken.task.done)
        assert not stopped.task.done()
        it.engine.resume("a1")
        await it.until(stopped.task.done)
        with pytest.raises(CorruptModel):
            stopped.task.result()


async def test_a_branch_of_a_stopped_request_brings_its_model_back() -> None:
    """It goes on where the stopped one stands, which stays stopped."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        it.ask("b1")
        await it.until(it.readers["b1"].task.done)
        branch = it.fork("a1", "a2")
        await it.until(branch.task.done)
        assert stopped.ids + branch.ids == WHOLE
        assert not stopped.task.done()


async def test_unloading_by_hand_is_refused_for_a_stopped_request() -> None:
    """Afterwards nobody would know how to bring its model back."""
    async with bench() as it:
        it.ask("a1")
        await it.stop("a1")
        with pytest.raises(ModelInUse, match="perhaps stopped ones"):
            await it.engine.unload("a")


async def test_after_a_crash_a_request_without_its_model_is_still_there() -> None:
    """The engine that comes back need not have its model."""
    async with bench() as it:
        stopped = it.ask("a1")
        await it.stop("a1")
        it.ask("b1")
        await it.until(lambda: "b" in it.engine.models)
        it.inner.crash()
        it.engine.resume("a1")
        await it.until(lambda: all(reader.task.done() for reader in it.readers.values()))
        assert stopped.ids == it.readers["b1"].ids == WHOLE


async def test_who_is_killed_while_granted_its_model_harms_nobody() -> None:
    """Both in one turn of the loop: the next one is served, and the model is not used for ever."""
    async with bench() as it:
        it.ask("b1")
        await it.until(lambda: it.readers["b1"].ids)
        killed, other = it.ask("a1"), it.ask("a2")
        await it.until(lambda: {"a1", "a2"} <= {c.id for c in it.engine.keeper.claims})
        it.engine.pause("a1")
        await it.until(lambda: it.engine.keeper.residence("a").state == "busy")
        killed.task.cancel()
        it.engine.resume("a1")
        await it.until(other.task.done)
        assert other.ids == WHOLE
        assert it.engine.keeper.residence("a").users == 0


ACTIONS = st.tuples(
    st.sampled_from(
        ["ask a", "ask b", "fork", "pause", "pause", "resume", "close", "crash", "renice", "step"]
    ),
    st.integers(0, 7),
)


class Life:
    """Random signals to requests of two models of which one fits."""

    def __init__(self, it: Bench) -> None:
        self.it = it
        self.closed: set[str] = set()
        self.branches: set[str] = set()

    async def act(self, name: str, number: int) -> None:
        """Do one random thing, then let the loop turn a few times."""
        ids = list(self.it.readers)
        if name.startswith("ask"):
            self.it.ask(f"{name[-1]}{len(ids)}")
        elif name == "crash":
            self.it.inner.crash()
        elif name == "step":
            self.it.inner.step(number)
        elif ids:
            self._act_on(ids[number % len(ids)], name, number)
        for _ in range(number):
            await asyncio.sleep(0)

    def _act_on(self, target: str, name: str, number: int) -> None:
        match name:
            case "fork" if not self.it.readers[target].task.done():
                branch = f"{target[0]}{len(self.it.readers)}"
                self.branches.add(branch)
                self.it.fork(target, branch)
            case "close":
                self.closed.add(target)
                self.it.readers[target].task.cancel()
            case "pause":
                self.it.engine.pause(target)
            case "resume":
                self.it.engine.resume(target)
            case "renice":
                self.it.engine.set_priority(target, number - 4)

    async def finish(self) -> None:
        """Let all go on to their end, and check what each read."""
        for request_id in self.it.readers:
            self.it.engine.resume(request_id)
        await self.it.until(lambda: all(reader.task.done() for reader in self.it.readers.values()))
        for request_id, reader in self.it.readers.items():
            if request_id in self.closed:
                continue
            if request_id in self.branches:
                self._check_branch(reader)
            else:
                assert (reader.ids, reader.finishes) == (WHOLE, 1)
        self.it.inner.step()
        assert self.it.engine.stats.sequences == ()
        assert not len(self.it.engine.keeper.claims)
        assert not any(r.users or r.held for r in self.it.engine.keeper.weights.residents.values())

    def _check_branch(self, reader: Reader) -> None:
        error = reader.task.exception()
        if error is None:
            assert reader.finishes == 1
            assert reader.ids == WHOLE[-len(reader.ids) :]
        else:  # its parent had just ended
            assert isinstance(error, LingOSError)


async def live(actions: list[tuple[str, int]]) -> None:
    """Do the actions, let everything end, and check every stream."""
    async with bench() as it:
        life = Life(it)
        for name, number in actions:
            await life.act(name, number)
        await life.finish()


KILLED_WHILE_GRANTED = [("ask a", 0), ("ask b", 1), ("pause", 4), ("close", 0), ("ask a", 0)]


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
@example(KILLED_WHILE_GRANTED)
def test_whoever_is_stopped_when_every_stream_is_exact(actions: list[tuple[str, int]]) -> None:
    """Models come and go below stopped requests; no token is lost, doubled or another."""
    asyncio.run(live(actions))
