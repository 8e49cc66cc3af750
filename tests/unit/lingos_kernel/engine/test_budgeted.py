"""Models that share a budget for one: requests wait, models come and go, nobody is harmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.messages import (
    DeviceInfo,
    Embed,
    Generate,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
    UnloadModel,
)
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.errors import (
    Cancelled,
    CorruptModel,
    InvalidArguments,
    ModelInUse,
    OutOfMemory,
    UnknownModel,
    UnknownName,
)
from lingos_kernel.memory.footprint import Footprint
from lingos_kernel.memory.weights import Reservation
from lingos_kernel.testing import FakeClock, ScriptedEngine
from lingos_kernel.testing.scripted_core import PAGE_BYTES, PAGES, WEIGHT_BYTES

MODEL_BYTES = WEIGHT_BYTES + PAGES * PAGE_BYTES
AT_ONCE = RestartPolicy(first_delay_s=0.0, max_delay_s=0.0, max_crashes=50)


@dataclass
class Bench:
    """A scripted engine that steps when told, with models `a` to `c` and room for one."""

    inner: ScriptedEngine
    engine: BudgetedEngine
    clock: FakeClock
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def introduce(self, name: str, path: str = "") -> None:
        """Know a model."""
        spec = ModelSpec(name=name, path=path)
        self.engine.introduce(spec, lambda dtype: Footprint(MODEL_BYTES, 0, 0))

    def ask(self, request_id: str, priority: int = 0, **params: Any) -> asyncio.Task[str]:
        """Ask the model that the id begins with; the task gives the text."""
        return self.start(self.answer(request_id, priority, **params))

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in the background."""
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def answer(self, request_id: str, priority: int = 0, **params: Any) -> str:
        """The text that a request gives."""
        return "".join(
            [output.text async for output in self.stream(request_id, priority, **params)]
        )

    def stream(self, request_id: str, priority: int = 0, **params: Any) -> AsyncIterator[Any]:
        """A request's outputs."""
        chosen = SamplingParams(**({"max_tokens": 4} | params))
        request = Generate(request_id, request_id[0], (72, 105), chosen, priority=priority, pid=7)
        return self.engine.generate(request)

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until something is so."""
        for _ in range(10_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come about")

    async def running(self, *request_ids: str) -> None:
        """Wait until these requests have reached the engine."""
        await self.until(
            lambda: (
                {c.request_id for c in self.inner.commands if isinstance(c, Generate)}
                >= set(request_ids)
            )
        )

    async def finish(self, *tasks: asyncio.Task[Any]) -> list[Any]:
        """Step until they are done."""

        def done() -> bool:
            self.inner.step()
            return all(task.done() for task in tasks)

        await self.until(done)
        return [task.result() for task in tasks]

    def waiting(self) -> list[str]:
        """Who waits for a model, next first."""
        return [claim.id for claim in self.engine.keeper.claims]


class Tight(ScriptedEngine):
    """A device that has less memory than was planned, the next few times."""

    refusals = 0

    async def load(self, spec: ModelSpec) -> ModelLoaded:
        """Refuses, or loads."""
        if self.refusals:
            self.refusals -= 1
            raise OutOfMemory("the device is out of memory")
        return await super().load(spec)


@asynccontextmanager
async def bench(
    *, budget: int = MODEL_BYTES, idle_unload_s: float = 0.0, kind: type[ScriptedEngine] = Tight
) -> AsyncIterator[Bench]:
    """A bench that is started, and stopped in the end."""
    clock = FakeClock()
    inner = kind({"Hi": "abcd"}, is_automatic=False, clock=clock, restart=AT_ONCE)
    engine = BudgetedEngine(inner, memory_bytes=budget, idle_unload_s=idle_unload_s, clock=clock)
    made = Bench(inner, engine, clock)
    for name in "abc":
        made.introduce(name)
    await engine.start()
    try:
        yield made
    finally:
        await engine.stop()
        await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_a_second_model_waits_while_the_first_answers() -> None:
    """It is seen waiting, with its process and place; then the first model leaves."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        second = it.ask("b1")
        third = it.ask("b2")
        await it.until(lambda: it.waiting() == ["b1", "b2"])
        it.clock.advance(2.0)
        rows = [row for row in it.engine.stats.sequences if row.model == "b"]
        assert [(r.request_id, r.pid, r.state, r.queue_position) for r in rows] == [
            ("b1", 7, "waiting", 0),
            ("b2", 7, "waiting", 1),
        ]
        assert rows[0].waited_s == 2.0
        residence = it.engine.keeper.residence("b")
        assert (residence.state, residence.waiting) == ("waiting", 2)
        assert residence.why.startswith("waiting for model b: 5.0 MiB needed, a busy")
        assert it.engine.keeper.residence("a").state == "busy"
        assert await it.finish(first) == ["abcd"]
        assert await it.finish(second, third) == ["abcd", "abcd"]
        assert set(it.engine.models) == {"b"}
        loads = [c for c in it.inner.commands if isinstance(c, LoadModel | UnloadModel)]
        assert [type(c).__name__ for c in loads] == ["LoadModel", "UnloadModel", "LoadModel"]


async def test_the_time_spent_waiting_for_a_model_counts() -> None:
    """In the usage, and against a deadline."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        outputs: list[SequenceOutput] = []

        async def read() -> None:
            request = Generate("b1", "b", (72, 105), SamplingParams(max_tokens=4), deadline_s=10.0)
            outputs.extend([output async for output in it.engine.generate(request)])

        second = it.start(read())
        await it.until(lambda: it.waiting() == ["b1"])
        it.clock.advance(3.0)
        await it.finish(first, second)
        usage = outputs[-1].usage
        assert usage
        assert usage.first_token_s
        assert min(usage.queue_s, usage.first_token_s, usage.total_s) >= 3.0
        (sent,) = [c for c in it.inner.commands if isinstance(c, Generate) and c.model == "b"]
        assert sent.deadline_s == 7.0


async def test_two_models_that_fit_answer_at_one_time() -> None:
    """A budget for two unloads none."""
    async with bench(budget=2 * MODEL_BYTES) as it:
        assert await it.finish(it.ask("a1"), it.ask("b1")) == ["abcd", "abcd"]
        assert set(it.engine.models) == {"a", "b"}


async def test_a_pinned_model_makes_others_fail_with_the_sums() -> None:
    """At once; after unpinning the same request is served."""
    async with bench() as it:
        await it.finish(it.ask("a1"))
        it.engine.keeper.weights.pinned.add("a")
        with pytest.raises(OutOfMemory, match=r"b needs 5\.0 MiB at least, and the budget M is"):
            await it.answer("b1")
        assert set(it.engine.models) == {"a"}
        it.engine.keeper.weights.pinned.clear()
        assert await it.finish(it.ask("b2")) == ["abcd"]


async def test_reserved_memory_is_for_all_that_its_tenant_asks_for() -> None:
    """Embeddings and loads by hand, too; nobody else gets it."""
    async with bench() as it:
        weights, tenant = it.engine.keeper.weights, "red"
        weights.reserve(Reservation(tenant, it.clock() + 60.0, bytes=MODEL_BYTES))
        with pytest.raises(OutOfMemory, match="reserved for red"):
            await it.engine.load(ModelSpec(name="a", path=""))
        assert (await it.engine.load(ModelSpec(name="a", path=""), tenant=tenant)).name == "a"
        embed = it.start(it.engine.embed(Embed("b1", "b", ((1, 2),), tenant=tenant)))
        (embedded,) = await it.finish(embed)
        assert embedded.prompt_tokens == 2


async def test_an_idle_model_leaves_after_its_time_to_live() -> None:
    """Not before, not while it is used; the next request brings it back."""
    async with bench(idle_unload_s=60.0) as it:
        task = it.ask("a1")
        await it.running("a1")
        it.clock.advance(100.0)
        it.engine.keeper.pump()
        assert "a" in it.engine.models
        await it.finish(task)
        it.clock.advance(59.0)
        it.engine.keeper.pump()
        await asyncio.sleep(0)
        assert "a" in it.engine.models
        assert it.engine.keeper.residence("a").idle_s == 59.0
        it.clock.advance(1.0)
        it.engine.keeper.pump()
        await it.until(lambda: not it.engine.models)
        assert await it.finish(it.ask("a2")) == ["abcd"]


async def test_the_timer_looks_after_idle_models() -> None:
    """On the real clock, without anybody asking."""
    inner = ScriptedEngine({"Hi": "abcd"})
    engine = BudgetedEngine(inner, idle_unload_s=0.001)
    it = Bench(inner, engine, FakeClock())
    it.introduce("a")
    await engine.start()
    assert await it.answer("a1") == "abcd"
    while engine.models:
        await asyncio.sleep(0.001)
    await engine.stop()


async def test_a_request_that_waits_can_be_cancelled() -> None:
    """Whoever is behind it moves up, and nothing is loaded for it."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        gone, stays = it.ask("b1"), it.ask("c1")
        await it.until(lambda: it.waiting() == ["b1", "c1"])
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert it.waiting() == ["c1"]
        await it.finish(first, stays)
        assert not any(isinstance(c, LoadModel) and c.spec.name == "b" for c in it.inner.commands)


async def test_a_request_that_waits_can_be_reniced_and_paused() -> None:
    """The priority goes with it to the engine; a paused one lets others go first."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        second, third = it.ask("b1"), it.ask("c1")
        await it.until(lambda: it.waiting() == ["b1", "c1"])
        it.engine.set_priority("c1", -5)
        assert it.waiting() == ["c1", "b1"]
        it.engine.pause("c1")
        states = {row.request_id: row.state for row in it.engine.stats.sequences}
        assert (states["c1"], states["b1"]) == ("paused", "waiting")
        await it.finish(first, second)
        it.engine.resume("c1")
        await it.finish(third)
        sent = {c.request_id: c.priority for c in it.inner.commands if isinstance(c, Generate)}
        assert sent == {"a1": 0, "b1": 0, "c1": -5}


async def test_a_pause_is_not_lost_on_the_way_to_the_engine() -> None:
    """Before the request was begun, or after it got its model and before the engine got it."""
    async with bench() as it:
        request = Generate("a1", "a", (72, 105), SamplingParams(max_tokens=4), is_paused=True)
        stream = it.engine.generate(request)
        first = it.start(anext(stream))
        await it.until(lambda: it.waiting() == ["a1"])
        assert not it.engine.models  # who is paused brings no model into memory
        second = it.ask("a2")
        await it.until(lambda: it.engine.keeper.residence("a").users == 1)
        it.engine.pause("a2")
        assert [output.text for output in await it.finish(it.start(anext(it.stream("a3"))))]  # type: ignore[arg-type]
        assert not any(task.done() for task in (first, second))
        it.engine.resume("a1")
        it.engine.resume("a2")
        await it.finish(first, second)
        await stream.aclose()


async def test_a_model_that_cannot_be_loaded_fails_its_requests_alone() -> None:
    """Each gets the error; another model is served."""
    async with bench() as it:
        it.introduce("x", path="/nonexistent/model")
        broken = [it.ask("x1"), it.ask("x2")]
        good = it.ask("b1")
        await it.until(lambda: all(task.done() for task in broken))
        for task in broken:
            with pytest.raises(CorruptModel):
                task.result()
        assert await it.finish(good) == ["abcd"]


async def test_a_device_with_less_than_planned_loses_its_idle_models_first() -> None:
    """One more try without them; a second failure is told."""
    async with bench(budget=3 * MODEL_BYTES, kind=Tight) as it:
        assert isinstance(it.inner, Tight)
        await it.finish(it.ask("a1"))
        it.inner.refusals = 1
        assert await it.finish(it.ask("b1")) == ["abcd"]
        assert set(it.engine.models) == {"b"}
        it.inner.refusals = 2
        with pytest.raises(OutOfMemory, match="the device is out of memory"):
            await it.answer("c1")
        assert await it.finish(it.ask("c2")) == ["abcd"]


async def test_after_a_crash_the_models_are_back_and_the_budget_holds() -> None:
    """The answer goes on; who waited still waits."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        second = it.ask("b1")
        await it.until(lambda: it.waiting() == ["b1"])
        it.inner.crash()
        await it.until(lambda: it.inner.restarts == 1)
        assert set(it.engine.models) == {"a"}
        assert it.waiting() == ["b1"]
        assert await it.finish(first, second) == ["abcd", "abcd"]
        assert set(it.engine.models) == {"b"}


async def test_a_branch_keeps_its_model_when_the_parent_has_ended() -> None:
    """It is a user like any other; a request that still waits cannot be branched."""
    async with bench() as it:
        stream = it.stream("a1", max_tokens=64)
        first = it.start(anext(stream))  # type: ignore[arg-type]
        await it.running("a1")
        await it.finish(first)
        branch = it.engine.fork("a1", "a2", SamplingParams(max_tokens=64))
        born = it.start(anext(branch))
        await it.until(lambda: it.engine.keeper.residence("a").users == 2)
        second = it.ask("b1")
        await it.until(lambda: it.waiting() == ["b1"])
        with pytest.raises(UnknownName):
            await anext(it.engine.fork("b1", "b2"))
        with pytest.raises(InvalidArguments):
            await anext(it.engine.fork("a1", "b1"))
        await it.finish(born)
        await stream.aclose()  # type: ignore[attr-defined]
        assert it.engine.keeper.residence("a").users == 1
        assert it.waiting() == ["b1"]
        await branch.aclose()
        assert await it.finish(second) == ["abcd"]


async def test_vectors_bring_their_model_too() -> None:
    """An embedding uses its model until it has its answer."""
    async with bench() as it:
        task = it.start(it.engine.embed(Embed("b1", "b", ((1, 2),))))
        (embedded,) = await it.finish(task)
        assert len(embedded.vectors) == 1
        assert it.engine.keeper.residence("b").users == 0


async def test_unloading_is_refused_while_anybody_wants_the_model() -> None:
    """Used, waited for, or pinned; else it goes, and is unknown from then on."""
    async with bench() as it:
        first = it.ask("a1")
        await it.running("a1")
        with pytest.raises(ModelInUse, match="has requests"):
            await it.engine.unload("a")
        await it.finish(first)
        it.engine.keeper.weights.pinned.add("a")
        with pytest.raises(ModelInUse, match="pinned"):
            await it.engine.unload("a")
        it.engine.keeper.weights.pinned.clear()
        await it.engine.unload("a")
        for unknown in (it.answer("a2"), it.engine.unload("a")):
            with pytest.raises(UnknownModel):
                await unknown


async def test_a_name_means_one_model_at_a_time() -> None:
    """Another folder under the name of a model in memory is refused, later it is taken."""
    async with bench() as it:
        await it.finish(it.ask("a1"))
        with pytest.raises(ModelInUse, match="taken"):
            it.introduce("a", path="/elsewhere")
        await it.finish(it.ask("b1"))
        it.introduce("a", path="/elsewhere")


async def test_stopping_ends_whoever_waits() -> None:
    """With `Cancelled`, as those that run."""
    async with bench() as it:
        tasks = [it.ask("a1")]
        await it.running("a1")
        tasks.append(it.ask("b1"))
        await it.until(lambda: it.waiting() == ["b1"])
        await it.engine.stop()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, Cancelled)


class Roomy(ScriptedEngine):
    """On a device that tells what it has free."""

    @property
    def device(self) -> DeviceInfo:
        """A GPU."""
        return DeviceInfo("cuda:0", "scripted", 1000, free_bytes=800)


async def test_the_budget_is_a_share_of_what_the_device_has_free() -> None:
    """A setting comes first; a device that does not tell has no bound."""
    for engine, budget_bytes in (
        (BudgetedEngine(Roomy()), 720),
        (BudgetedEngine(Roomy(), memory_bytes=99), 99),
        (BudgetedEngine(ScriptedEngine()), 0),
    ):
        await engine.start()
        assert engine.keeper.weights.budget_bytes == budget_bytes
        await engine.stop()


async def test_a_model_of_which_nothing_was_told_is_loaded() -> None:
    """As a driver's are: the engine will find out what it takes."""
    engine = BudgetedEngine(ScriptedEngine())
    await engine.start()
    assert await engine.load(ModelSpec(name="m", path="")) == engine.models["m"]
    await engine.stop()
