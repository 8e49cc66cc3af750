"""The engine host, over the scripted core: restarts, resumption, poison, slow consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from lingos_kernel.engine.messages import (
    Cancel,
    Embed,
    Generate,
    LoadModel,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
    SetPolicy,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.errors import (
    Cancelled,
    EngineDied,
    EngineError,
    InvalidArguments,
    ModelInUse,
    UnknownName,
)
from lingos_kernel.testing import FakeClock, Prompt, Reply, ScriptedEngine

AT_ONCE = RestartPolicy(first_delay_s=0.0, max_delay_s=0.0, max_crashes=100)
MODEL = ModelSpec(name="m", path="", context_tokens=100_000)

Stream = AsyncGenerator[SequenceOutput, None]


def request(request_id: str, prompt: str, **params: object) -> Generate:
    """A request whose prompt is plain text."""
    return Generate(request_id, "m", tuple(prompt.encode()), SamplingParams(**params))  # type: ignore[arg-type]


@pytest.fixture
def clock() -> FakeClock:
    """The time as the host sees it."""
    return FakeClock()


@pytest.fixture
async def engine(clock: FakeClock) -> AsyncIterator[ScriptedEngine]:
    """A started engine that steps by hand, restarts at once and has a model."""
    engine = ScriptedEngine(is_automatic=False, clock=clock, restart=AT_ONCE)
    await engine.start()
    await engine.load(MODEL)
    yield engine
    await engine.stop()


async def begin(engine: ScriptedEngine, stream: Stream) -> asyncio.Task[SequenceOutput]:
    """Have the stream submit its request and wait for its first output."""
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)  # the task runs up to its first wait
    return first


async def crash(engine: ScriptedEngine) -> None:
    """Crash, and wait until the engine is back with its models."""
    engine.crash()
    await engine.start()
    await turn()


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def rest(stream: Stream, *outputs: SequenceOutput) -> str:
    """The text of some outputs and of all that follow."""
    return "".join([output.text for output in outputs] + [o.text async for o in stream])


async def test_crash_continues_the_stream(engine: ScriptedEngine) -> None:
    """After a crash the text goes on where it was, nothing lost and nothing doubled."""
    stream = engine.generate(request("r", "hello wörld"))
    first = await begin(engine, stream)
    engine.step(3)
    await crash(engine)
    engine.step(100)
    assert await rest(stream, await first) == "hello wörld"
    assert engine.restarts == 1


async def test_crash_keeps_half_a_character(engine: ScriptedEngine) -> None:
    """A character whose first byte came before the crash is emitted once, after it."""
    stream = engine.generate(request("r", "ö"))
    first = await begin(engine, stream)
    engine.step(1)
    await crash(engine)
    engine.step(100)
    assert await rest(stream, await first) == "ö"


async def test_crash_keeps_what_a_stop_string_held_back(engine: ScriptedEngine) -> None:
    """Text held back at the crash as a possible stop string is still cut, or still emitted."""
    stream = engine.generate(request("r", "one, two. three", stop=("two. x", "three")))
    first = await begin(engine, stream)
    engine.step(8)
    await crash(engine)
    engine.step(100)
    assert await rest(stream, await first) == "one, two. "


async def test_resubmission_keeps_priority_and_tokens(engine: ScriptedEngine) -> None:
    """What the new engine gets is the request with its present priority and its tokens."""
    stream = engine.generate(request("r", "hello", seed=7))
    first = await begin(engine, stream)
    engine.step(2)
    engine.set_priority("r", -5)
    await crash(engine)
    sent = [c for c in engine.commands if isinstance(c, Generate)][-1]
    assert (sent.priority, sent.params.seed, sent.output_ids) == (-5, 7, ((104, 101),))
    engine.step(100)
    assert await rest(stream, await first) == "hello"


async def test_paused_request_stays_paused_over_a_crash(engine: ScriptedEngine) -> None:
    """A request that was paused gains nothing after the restart until it is resumed."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    engine.step(2)
    engine.pause("r")
    await crash(engine)
    engine.step(100)
    start = await first
    assert start.token_ids == (104, 101)
    engine.resume("r")
    engine.step(100)
    assert await rest(stream, start) == "hello"


async def test_choices_finish_once_over_a_crash(engine: ScriptedEngine) -> None:
    """A choice that had ended before the crash does not end again."""
    stream = engine.generate(request("r", "hello", n=2, max_tokens=3))
    first = await begin(engine, stream)
    engine.step(2)
    await crash(engine)
    engine.step(100)
    outputs = [await first] + [output async for output in stream]
    for choice in (0, 1):
        mine = [output for output in outputs if output.choice == choice]
        assert "".join(output.text for output in mine) == "hel"
        assert [o.finish_reason for o in mine if o.finish_reason] == ["length"]


async def test_prompt_logprobs_come_once(engine: ScriptedEngine) -> None:
    """Scores of the prompt that came before a crash are not asked for again."""
    stream = engine.generate(request("r", "hello", prompt_logprobs=1))
    first = await begin(engine, stream)
    engine.step(1)
    assert len((await first).prompt_logprobs) == 4
    await crash(engine)
    engine.step(100)
    assert [o.prompt_logprobs async for o in stream] == [()]


async def test_usage_spans_crashes(engine: ScriptedEngine, clock: FakeClock) -> None:
    """The times of a resumed request count from its arrival, not from the restart."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    clock.advance(1)
    engine.step(1)
    await crash(engine)
    clock.advance(10)
    engine.step(100)
    usage = (await first).usage or [o.usage async for o in stream][-1]
    assert usage
    assert (usage.first_token_s, usage.total_s, usage.output_tokens) == (1.0, 11.0, 6)


async def test_branch_survives_a_crash(engine: ScriptedEngine) -> None:
    """A fork goes on after a crash from its own tokens, and repeats none of its parent's."""
    parent = engine.generate(request("r", "hello world"))
    first = await begin(engine, parent)
    engine.step(4)
    branch = engine.fork("r", "b")
    first_of_branch = await begin(engine, branch)
    engine.step(3)
    await crash(engine)
    engine.step(100)
    assert await rest(parent, await first) == "hello world"
    assert await rest(branch, await first_of_branch) == "o world"


async def test_fork_while_the_engine_is_down(engine: ScriptedEngine) -> None:
    """A fork asked for during a restart begins after the tokens that the parent had."""
    parent = engine.generate(request("r", "hello"))
    first = await begin(engine, parent)
    engine.step(2)
    engine.crash()
    branch = engine.fork("r", "b")
    first_of_branch = await begin(engine, branch)
    await engine.start()
    engine.step(100)
    assert await rest(branch, await first_of_branch) == "llo"
    assert await rest(parent, await first) == "hello"


async def test_fork_of_nothing(engine: ScriptedEngine) -> None:
    """Forking a request that is not running raises at once."""
    with pytest.raises(UnknownName):
        await anext(engine.fork("nobody", "b"))


async def test_embed_survives_a_crash(engine: ScriptedEngine) -> None:
    """An embedding in flight is asked for again."""
    task = asyncio.ensure_future(engine.embed(Embed("e", "m", ((1, 2),))))
    await asyncio.sleep(0)
    await crash(engine)
    engine.step()
    assert (await task).prompt_tokens == 2


async def test_cancelled_embed_is_cancelled_in_the_engine(engine: ScriptedEngine) -> None:
    """Cancelling the task that awaits an embedding sends a `Cancel`."""
    task = asyncio.ensure_future(engine.embed(Embed("e", "m", ((1, 2),))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.commands[-1] == Cancel("e")


async def test_slow_consumer_gets_merged_outputs(engine: ScriptedEngine) -> None:
    """Outputs that nobody fetched become one per choice: all tokens, the last finish."""
    stream = engine.generate(request("r", "hello", logprobs=0))
    first = await begin(engine, stream)
    engine.step(100)
    output = await first
    assert output.text == "hello"
    assert (len(output.token_ids), len(output.logprobs), output.finish_reason) == (6, 6, "stop")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_closing_early_cancels_once(engine: ScriptedEngine) -> None:
    """Closing the stream sends one `Cancel`; a finished stream sends none."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    engine.step(1)
    await first
    await stream.aclose()
    done = engine.generate(request("s", "hello"))
    last = await begin(engine, done)
    engine.step(100)
    await rest(done, await last)
    assert [c for c in engine.commands if isinstance(c, Cancel)] == [Cancel("r")]


async def test_id_in_flight_is_refused(engine: ScriptedEngine) -> None:
    """Two requests with one id cannot be told apart, so the second is refused."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    with pytest.raises(InvalidArguments, match="in flight"):
        await anext(engine.generate(request("r", "hello")))
    engine.step(100)
    assert await rest(stream, await first) == "hello"


async def test_totals_go_on_over_a_crash(engine: ScriptedEngine) -> None:
    """Totals of the statistics never fall."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    engine.step(2)
    assert engine.stats.output_tokens_total == 2
    await crash(engine)
    assert engine.stats.output_tokens_total == 2
    engine.step(1)
    assert engine.stats.output_tokens_total == 3
    engine.step(100)
    await rest(stream, await first)


async def test_models_are_loaded_again(engine: ScriptedEngine) -> None:
    """After a crash every model is loaded again, before any request, and stays listed."""
    engine.crash()
    assert set(engine.models) == {"m"}
    await engine.start()
    assert engine.commands[-1] == LoadModel(MODEL)


async def test_unload_in_flight_when_the_engine_dies(engine: ScriptedEngine) -> None:
    """A model that was being unloaded is gone with the engine, and is not loaded again."""
    task = asyncio.ensure_future(engine.unload("m"))
    await asyncio.sleep(0)
    await crash(engine)
    await task
    assert engine.models == {}
    assert len([c for c in engine.commands if isinstance(c, LoadModel)]) == 1


async def test_model_in_use_is_not_unloaded(engine: ScriptedEngine) -> None:
    """A model with a request in flight is kept."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    with pytest.raises(ModelInUse):
        await engine.unload("m")
    engine.step(100)
    await rest(stream, await first)


async def test_name_taken_by_another_spec(engine: ScriptedEngine) -> None:
    """Loading another model under a name in use is refused."""
    with pytest.raises(ModelInUse):
        await engine.load(ModelSpec(name="m", path="", context_tokens=7))


def poison(prompt: Prompt) -> Reply:
    """A script that brings the engine down for one prompt."""
    return RuntimeError("boom") if prompt.user == "poison" else prompt.user


async def test_poison_fails_alone() -> None:
    """A request that kills the engine each time fails after three crashes; all others live."""
    engine = ScriptedEngine(poison, restart=AT_ONCE)
    await engine.start()
    await engine.load(MODEL)
    good = [
        asyncio.ensure_future(rest(engine.generate(request(f"g{i}", "x" * 200)))) for i in range(3)
    ]
    with pytest.raises(EngineError, match="3 crashes") as failure:
        await anext(engine.generate(request("p", "poison")))
    assert not isinstance(failure.value, EngineDied)
    assert await asyncio.gather(*good) == ["x" * 200] * 3
    assert engine.restarts == 3
    await engine.stop()


async def test_two_poisons_fail_and_others_live() -> None:
    """Suspects are tried one by one, so that each poison is found and nobody else fails."""
    engine = ScriptedEngine(poison, restart=AT_ONCE)
    await engine.start()
    await engine.load(MODEL)
    prompts = ["poison", "fine", "poison", "good"]
    streams = [engine.generate(request(str(i), prompt)) for i, prompt in enumerate(prompts)]
    ends = await asyncio.gather(*map(rest, streams), return_exceptions=True)
    assert [type(ends[0]), type(ends[2])] == [EngineError, EngineError]
    assert [ends[1], ends[3]] == ["fine", "good"]
    await engine.stop()


async def test_progress_clears_a_request(engine: ScriptedEngine) -> None:
    """A request that gains a token between crashes is never taken for poison."""
    stream = engine.generate(request("r", "hello world"))
    first = await begin(engine, stream)
    for _ in range(6):
        engine.step(1)
        await crash(engine)
    engine.step(100)
    assert await rest(stream, await first) == "hello world"


async def test_given_up_after_too_many_crashes(clock: FakeClock) -> None:
    """After the fifth crash in a minute all requests end in `EngineDied`; later one may retry."""
    policy = RestartPolicy(first_delay_s=0.0, max_delay_s=0.0)
    engine = ScriptedEngine(is_automatic=False, clock=clock, restart=policy)
    await engine.start()
    await engine.load(MODEL)
    stream = engine.generate(request("r", "hello world"))
    first = await begin(engine, stream)
    for _ in range(4):
        engine.step(1)
        await crash(engine)
    engine.crash("was killed by SIGSEGV")
    assert (await first).text + (await anext(stream)).text == "hell"
    with pytest.raises(EngineDied, match="SIGSEGV"):
        await anext(stream)
    with pytest.raises(EngineDied, match="try again in 30 s"):
        await anext(engine.generate(request("s", "hello")))
    clock.advance(31)
    again = engine.generate(request("t", "hello"))
    later = await begin(engine, again)
    await engine.start()
    engine.step(100)
    assert await rest(again, await later) == "hello"
    await engine.stop()


async def test_crashes_far_apart_are_survived(engine: ScriptedEngine, clock: FakeClock) -> None:
    """Only crashes within the window count against the engine."""
    stream = engine.generate(request("r", "hello world"))
    first = await begin(engine, stream)
    for _ in range(8):
        engine.step(1)
        await crash(engine)
        clock.advance(61)
    engine.step(100)
    assert await rest(stream, await first) == "hello world"


async def test_stop_cancels_what_runs(engine: ScriptedEngine) -> None:
    """Stopping ends streams, embeddings and loads in `Cancelled`; then nothing is accepted."""
    stream = engine.generate(request("r", "hello"))
    first = await begin(engine, stream)
    embed = asyncio.ensure_future(engine.embed(Embed("e", "m", ((1,),))))
    await asyncio.sleep(0)
    await engine.stop()
    for task in (first, embed):
        with pytest.raises(Cancelled):
            await task
    with pytest.raises(EngineError, match="not running"):
        await anext(engine.generate(request("s", "hello")))
    assert engine.os_pid is None


async def test_stop_during_a_restart(engine: ScriptedEngine) -> None:
    """Stopping while the engine is being brought back ends it for good."""
    engine.crash()
    await engine.stop()
    await turn()
    assert engine.os_pid is None


async def test_start_again_after_stop(engine: ScriptedEngine) -> None:
    """A stopped engine can be started again, without models."""
    await engine.stop()
    await engine.start()
    assert engine.models == {}
    await engine.load(MODEL)
    assert set(engine.models) == {"m"}


async def test_a_chosen_policy_outlives_a_crash(engine: ScriptedEngine) -> None:
    """The next engine gets it before any work, and the statistics name it all the time."""
    engine.set_policy("fair", {"ann": 2.0})
    await turn()
    assert engine.stats.policy == "fair"
    before = len(engine.commands)
    engine.crash()
    assert engine.stats.policy == "fair"
    await engine.start()
    await turn()
    assert engine.commands[before] == SetPolicy("fair", {"ann": 2.0})
    assert engine.stats.policy == "fair"


async def test_priorities_order_the_batch() -> None:
    """With room for one, the more urgent request runs first and the other is preempted."""
    settings = EngineSettings(max_running=1)
    engine = ScriptedEngine(is_automatic=False, settings=settings)
    await engine.start()
    await engine.load(MODEL)
    slow = engine.generate(request("slow", "hello"))
    first = await begin(engine, slow)
    engine.step(1)
    engine.set_priority("slow", 5)
    urgent = engine.generate(request("urgent", "hi"))
    first_of_urgent = await begin(engine, urgent)
    engine.step(1)
    rows = {row.request_id: row for row in engine.stats.sequences}
    assert rows["slow"].state == "preempted"
    assert rows["slow"].queue_position == 0
    assert rows["urgent"].state == "decode"
    engine.step(100)
    assert await rest(slow, await first) == "hello"
    assert await rest(urgent, await first_of_urgent) == "hi"
    await engine.stop()
