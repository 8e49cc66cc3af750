"""What every engine promises, whatever runs behind it (`engine.protocol.Engine`)."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.messages import (
    Embed,
    Generate,
    HoldPages,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
    Usage,
)
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.engine.transport import PipeTransport, ThreadTransport
from lingos_kernel.errors import (
    Cancelled,
    EmptyPrompt,
    EngineError,
    InvalidArguments,
    ModelError,
    ModelInUse,
    PromptTooLong,
    UnknownModel,
    UnknownName,
)
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.testing import ScriptedEngine

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = EngineSettings(device="cpu", kv_bytes=8 << 20, threads=1)
AT_ONCE = RestartPolicy(first_delay_s=0.0, max_delay_s=0.0, max_crashes=50)
PROMPT = "the quick brown fox jumps over the lazy dog"
LONG = 400
"""Tokens of an answer that is still running when the next command arrives."""


@dataclass
class Answer:
    """What one stream gave."""

    ids: dict[int, list[int]] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, list[str]] = field(default_factory=dict)
    usages: list[Usage] = field(default_factory=list)

    def add(self, output: SequenceOutput) -> None:
        """Take an output in."""
        choice = output.choice
        self.ids.setdefault(choice, []).extend(output.token_ids)
        self.texts[choice] = self.texts.get(choice, "") + output.text
        if output.finish_reason:
            self.reasons.setdefault(choice, []).append(output.finish_reason)
            assert output.usage
            self.usages.append(output.usage)


@dataclass
class Subject:
    """An engine under test, with a model's folder and tokenizer."""

    engine: Engine
    folder: Path
    codec: TextCodec

    @property
    def spec(self) -> ModelSpec:
        """The model that tests load."""
        return ModelSpec(name="m", path=str(self.folder))

    def request(self, request_id: str, text: str = PROMPT, **params: object) -> Generate:
        """A request for the model; it runs to its token limit unless told otherwise."""
        chosen = SamplingParams(**({"ignore_eos": True, "max_tokens": 20} | params))  # type: ignore[arg-type]
        return Generate(request_id, "m", tuple(self.codec.encode(text)), chosen)

    async def answer(self, request: Generate) -> Answer:
        """Everything that a request gives."""
        return await read(self.engine.generate(request))

    async def settle(self) -> None:
        """Wait until the engine has told of all that it was asked for before."""
        for name in ("settle-1", "settle-2"):
            await self.answer(self.request(name, max_tokens=1))


async def read(
    stream: AsyncGenerator[SequenceOutput, None], answer: Answer | None = None
) -> Answer:
    """All of a stream."""
    answer = answer or Answer()
    async for output in stream:
        answer.add(output)
    return answer


def make_engine(kind: str) -> Engine:
    """An engine of a kind, not started."""
    if kind == "scripted":
        return ScriptedEngine(restart=AT_ONCE)
    if kind == "budgeted":
        return BudgetedEngine(ScriptedEngine(restart=AT_ONCE))
    transport = PipeTransport(SETTINGS) if kind == "process" else ThreadTransport(SETTINGS)
    return EngineHost(transport, restart=AT_ONCE)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["scripted", "budgeted", "thread", "process"]
)
async def shared_engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """One started engine of each kind: a process needs seconds to import torch."""
    engine = make_engine(request.param)
    await engine.start()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def subject(shared_engine: Engine, tiny_llama: Path) -> AsyncIterator[Subject]:
    """An engine with a model, idle; what a test leaves running fails it."""
    subject = Subject(shared_engine, tiny_llama, TextCodec.load(tiny_llama))
    await shared_engine.load(subject.spec)
    yield subject
    await shared_engine.load(subject.spec)
    await subject.settle()
    assert {row.request_id for row in shared_engine.stats.sequences} <= {"settle-2"}


class TestModels:
    """Loading and unloading."""

    async def test_loaded_model_is_listed(self, subject: Subject) -> None:
        """A loaded model is among `models`, with the facts that its answer gave."""
        loaded = await subject.engine.load(subject.spec)
        assert subject.engine.models == {"m": loaded}
        assert (loaded.name, loaded.kind) == ("m", "causal")
        assert loaded.context_tokens == 512
        assert loaded.pages * loaded.page_bytes <= loaded.kv_bytes

    async def test_concurrent_loads_are_one(self, subject: Subject) -> None:
        """Loads of one model at the same time give the same answer."""
        await subject.engine.unload("m")
        first, second = await asyncio.gather(
            subject.engine.load(subject.spec), subject.engine.load(subject.spec)
        )
        assert first == second

    async def test_unloaded_model_is_unknown(self, subject: Subject) -> None:
        """After unloading, requests for the model and a second unload raise `UnknownModel`."""
        await subject.engine.unload("m")
        assert subject.engine.models == {}
        with pytest.raises(UnknownModel):
            await subject.answer(subject.request("gone"))
        with pytest.raises(UnknownModel):
            await subject.engine.embed(Embed("gone", "m", ((1,),)))
        with pytest.raises(UnknownModel):
            await subject.engine.unload("m")

    async def test_model_in_use_stays(self, subject: Subject) -> None:
        """A model with a running request cannot be unloaded; the request is not harmed."""
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        with pytest.raises(ModelInUse):
            await subject.engine.unload("m")
        assert len((await read(stream, answer)).ids[0]) == LONG

    async def test_missing_folder(self, subject: Subject) -> None:
        """Loading what is not there raises a `ModelError` and leaves nothing behind."""
        with pytest.raises(ModelError):
            await subject.engine.load(ModelSpec(name="x", path="/nonexistent/model"))
        assert set(subject.engine.models) == {"m"}


class TestGenerate:
    """Streams of one request."""

    async def test_stream_ends_once(self, subject: Subject) -> None:
        """The outputs join to the answer; the last one alone has finish_reason and usage."""
        outputs = [o async for o in subject.engine.generate(subject.request("r"))]
        assert [bool(o.finish_reason) for o in outputs] == [False] * (len(outputs) - 1) + [True]
        assert [o.usage is not None for o in outputs] == [bool(o.finish_reason) for o in outputs]
        ids = [token for output in outputs for token in output.token_ids]
        assert len(ids) == 20
        assert "".join(o.text for o in outputs) == subject.codec.decode(ids)
        usage = outputs[-1].usage
        assert usage
        assert outputs[-1].finish_reason == "length"
        assert (usage.prompt_tokens, usage.output_tokens) == (
            len(subject.request("r").prompt_ids),
            20,
        )

    async def test_same_request_same_answer(self, subject: Subject) -> None:
        """Greedy and seeded answers repeat."""
        for params in ({}, {"temperature": 1.0, "seed": 3}):
            first = await subject.answer(subject.request("a", **params))
            assert (await subject.answer(subject.request("b", **params))).ids == first.ids

    async def test_choices(self, subject: Subject) -> None:
        """Each of n choices ends exactly once."""
        answer = await subject.answer(subject.request("r", n=3, temperature=1.0))
        assert answer.reasons == {0: ["length"], 1: ["length"], 2: ["length"]}
        assert [len(ids) for ids in answer.ids.values()] == [20] * 3

    async def test_stop_string(self, subject: Subject) -> None:
        """A stop string ends the text before itself."""
        whole = (await subject.answer(subject.request("a"))).texts[0]
        stop = whole[5:8]
        answer = await subject.answer(subject.request("b", stop=(stop,)))
        assert answer.texts[0] == whole[: whole.index(stop)]
        assert answer.reasons[0] == ["stop"]

    async def test_resume_from_tokens(self, subject: Subject) -> None:
        """A request that brings output tokens goes on after them, and sends none of them."""
        whole = (await subject.answer(subject.request("a"))).ids[0]
        request = subject.request("b")
        resumed = Generate(
            "b", "m", request.prompt_ids, request.params, output_ids=(tuple(whole[:7]),)
        )
        assert (await subject.answer(resumed)).ids[0] == whole[7:]

    async def test_concurrent_requests(self, subject: Subject) -> None:
        """Answers do not depend on what else runs."""
        texts = [PROMPT[i:] for i in range(6)]
        alone = [await subject.answer(subject.request("a", text)) for text in texts]
        together = await asyncio.gather(
            *(subject.answer(subject.request(f"b{i}", text)) for i, text in enumerate(texts))
        )
        assert [answer.ids for answer in together] == [answer.ids for answer in alone]

    async def test_bad_requests_fail_alone(self, subject: Subject) -> None:
        """An empty prompt and one too long raise; a request beside them is not harmed."""
        stream = subject.engine.generate(subject.request("good", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        with pytest.raises(EmptyPrompt):
            await subject.answer(Generate("empty", "m", ()))
        with pytest.raises(PromptTooLong):
            await subject.answer(Generate("long", "m", (5,) * 600))
        assert len((await read(stream, answer)).ids[0]) == LONG

    async def test_id_in_flight(self, subject: Subject) -> None:
        """An id that is in use is refused."""
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        await anext(stream)
        with pytest.raises(InvalidArguments):
            await subject.answer(subject.request("r"))
        await stream.aclose()


class TestControl:
    """Cancelling, pausing, renicing and forking what runs."""

    async def test_closing_frees_the_pages(self, subject: Subject) -> None:
        """After a stream is closed early, its request is gone and its pages are free."""
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        await anext(stream)
        await stream.aclose()
        await subject.settle()
        assert "r" not in {row.request_id for row in subject.engine.stats.sequences}
        if not subject.engine.stats.sequences:
            assert subject.engine.stats.models[0].pages_used == 0

    async def test_cancelled_task_cancels_the_request(self, subject: Subject) -> None:
        """Cancelling the task that reads a stream ends the request in the engine."""
        answer = Answer()
        task = asyncio.ensure_future(
            read(subject.engine.generate(subject.request("r", max_tokens=LONG)), answer)
        )
        await subject.settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await subject.settle()
        assert "r" not in {row.request_id for row in subject.engine.stats.sequences}

    async def test_pause_and_resume(self, subject: Subject) -> None:
        """A paused request gains nothing while others run; resumed, it gives the same answer."""
        whole = await subject.answer(subject.request("whole", max_tokens=LONG))
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        subject.engine.pause("r")
        task = asyncio.ensure_future(read(stream, answer))
        await subject.settle()
        held = len(answer.ids[0])
        assert held < LONG
        await subject.settle()
        assert len(answer.ids[0]) == held
        subject.engine.resume("r")
        assert (await task).ids == whole.ids

    async def test_closing_a_paused_request(self, subject: Subject) -> None:
        """A paused request can be cancelled."""
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        await anext(stream)
        subject.engine.pause("r")
        await stream.aclose()
        await subject.settle()
        assert "r" not in {row.request_id for row in subject.engine.stats.sequences}

    async def test_pages_are_held_for_the_next_turn(self, subject: Subject) -> None:
        """They are told of until the next turn takes them over, which gives the same answer."""
        engine, words = subject.engine, PROMPT * 5
        whole = await subject.answer(subject.request("whole", words))
        tokens = subject.request("t", words).prompt_ids
        pages = await engine.hold_pages(HoldPages("h", "m", tokens, 600.0, pid=7, why="a tool"))
        assert pages == len(tokens) // 16
        await subject.settle()
        (row,) = engine.stats.holds
        assert (row.hold_id, row.pid, row.pages, row.why) == ("h", 7, pages, "a tool")
        engine.set_priority("h", 4)
        await subject.settle()
        assert engine.stats.holds[0].priority == 4
        next_turn = replace(subject.request("next", words), hold_id="h")
        assert (await subject.answer(next_turn)).ids == whole.ids
        await subject.settle()
        assert engine.stats.holds == ()

    async def test_releasing_held_pages(self, subject: Subject) -> None:
        """Once or twice, and of what never was; a hold that cannot be keeps no pages."""
        engine, tokens = subject.engine, subject.request("t", PROMPT * 5).prompt_ids
        await subject.answer(subject.request("first", PROMPT * 5))
        assert await engine.hold_pages(HoldPages("h", "m", tokens, 600.0))
        assert await engine.hold_pages(HoldPages("other", "nobody", tokens, 600.0)) == 0
        for name in ("h", "h", "never"):
            engine.release_pages(name)
        await subject.settle()
        assert engine.stats.holds == ()

    async def test_control_of_unknown_requests(self, subject: Subject) -> None:
        """Renicing, pausing and resuming what is not there does nothing."""
        subject.engine.set_priority("nobody", 3)
        subject.engine.pause("nobody")
        subject.engine.resume("nobody")
        await subject.settle()

    async def test_renice_changes_nothing_but_the_order(self, subject: Subject) -> None:
        """A reniced request gives the same answer."""
        whole = await subject.answer(subject.request("whole", max_tokens=LONG))
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        subject.engine.set_priority("r", 19)
        await subject.settle()
        assert (await read(stream, answer)).ids == whole.ids

    async def test_another_policy_changes_nothing_but_the_order(self, subject: Subject) -> None:
        """Requests go on under a policy that is chosen in mid-answer; statistics name it."""
        whole = await subject.answer(subject.request("whole", max_tokens=LONG))
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        subject.engine.set_policy("fair", {"someone": 2.0})
        assert (await read(stream, answer)).ids == whole.ids
        await subject.settle()
        assert subject.engine.stats.policy == "fair"

    async def test_fork(self, subject: Subject) -> None:
        """A branch with the parent's params goes on exactly as the parent does."""
        whole = (await subject.answer(subject.request("whole", max_tokens=LONG))).ids[0]
        stream = subject.engine.generate(subject.request("r", max_tokens=LONG))
        answer = Answer()
        answer.add(await anext(stream))
        branch, parent = await asyncio.gather(
            read(subject.engine.fork("r", "branch")), read(stream, answer)
        )
        assert parent.ids[0] == whole
        assert 0 < len(branch.ids[0]) < LONG
        assert whole[-len(branch.ids[0]) :] == branch.ids[0]
        assert branch.reasons == {0: ["length"]}
        assert branch.usages[0].output_tokens == len(branch.ids[0])

    async def test_fork_of_nothing(self, subject: Subject) -> None:
        """Forking a request that is not running raises `UnknownName`."""
        with pytest.raises(UnknownName):
            await read(subject.engine.fork("nobody", "branch"))


class TestEmbed:
    """Vectors."""

    async def test_vectors(self, subject: Subject) -> None:
        """One vector of length one for each input, the same each time."""
        inputs = (tuple(subject.codec.encode("one")), tuple(subject.codec.encode("two three")))
        first = await subject.engine.embed(Embed("e1", "m", inputs))
        again = await subject.engine.embed(Embed("e2", "m", inputs))
        assert first.prompt_tokens == sum(map(len, inputs))
        assert [math.hypot(*vector) for vector in first.vectors] == pytest.approx([1.0, 1.0])
        assert first.vectors == again.vectors
        assert first.vectors[0] != first.vectors[1]


class TestLife:
    """Statistics, stop and start."""

    async def test_stats(self, subject: Subject) -> None:
        """Totals count what was done; each loaded model has its pages accounted for."""
        before = subject.engine.stats
        await subject.answer(subject.request("r"))
        await subject.settle()
        stats = subject.engine.stats
        assert stats.output_tokens_total >= before.output_tokens_total + 21
        assert stats.prompt_tokens_total > before.prompt_tokens_total
        (model,) = stats.models
        assert model.name == "m"
        assert model.pages_used + model.pages_cached + model.pages_free == model.pages_total

    async def test_stop_and_start(self, subject: Subject) -> None:
        """Stopping ends requests in `Cancelled`, twice does no harm; start brings it back."""
        engine = subject.engine
        stream = engine.generate(subject.request("r", max_tokens=LONG))
        await anext(stream)
        await engine.stop()
        with pytest.raises(Cancelled):
            await read(stream)
        await engine.stop()
        assert engine.os_pid is None
        with pytest.raises(EngineError):
            await subject.answer(subject.request("late"))
        await engine.start()
        assert engine.os_pid
        assert engine.device
        assert engine.models == {}


class TestProcess:
    """What only an engine in a process of its own survives."""

    @pytest.fixture(autouse=True)
    def _process_only(self, request: pytest.FixtureRequest, subject: Subject) -> None:
        if subject.engine.os_pid == os.getpid():
            pytest.skip("this engine lives in the test's own process")

    @staticmethod
    async def kill_and_read(subject: Subject, request: Generate, kills: int) -> Answer:
        """The answer to a request whose engine is killed `kills` times, after new tokens each."""
        stream = subject.engine.generate(request)
        answer = Answer()
        for _ in range(kills):
            answer.add(await anext(stream))
            kill(subject.engine)
        return await read(stream, answer)

    @pytest.mark.parametrize("params", [{}, {"temperature": 0.9, "top_p": 0.9, "seed": 11, "n": 2}])
    async def test_kill_in_mid_generation(
        self, subject: Subject, params: dict[str, object]
    ) -> None:
        """After kill -9 the stream goes on with the same tokens and text, greedy and seeded."""
        whole = await subject.answer(subject.request("whole", max_tokens=200, **params))
        restarts = subject.engine.restarts
        request = subject.request("killed", max_tokens=200, **params)
        answer = await self.kill_and_read(subject, request, kills=1)
        assert (answer.ids, answer.texts, answer.reasons) == (whole.ids, whole.texts, whole.reasons)
        assert subject.engine.restarts == restarts + 1

    async def test_repeated_kills(self, subject: Subject) -> None:
        """A request that is interrupted again and again still gives its exact answer."""
        whole = await subject.answer(subject.request("whole", max_tokens=200))
        request = subject.request("killed", max_tokens=200)
        answer = await self.kill_and_read(subject, request, kills=2)
        assert answer.ids == whole.ids

    async def test_kill_with_a_branch_a_pause_and_vectors(self, subject: Subject) -> None:
        """Branches, paused requests and embeddings live on as well."""
        engine = subject.engine
        whole = (await subject.answer(subject.request("whole", max_tokens=LONG))).ids[0]
        parent = engine.generate(subject.request("parent", max_tokens=LONG))
        held = engine.generate(subject.request("held", max_tokens=LONG))
        answers = Answer(), Answer(), Answer()
        for stream, answer in zip((parent, held), answers, strict=False):
            answer.add(await anext(stream))
        engine.pause("held")
        branch = engine.fork("parent", "branch")
        answers[2].add(await anext(branch))
        embed = asyncio.ensure_future(engine.embed(Embed("e", "m", ((1, 2, 3),))))
        await asyncio.sleep(0)
        kill(engine)
        await asyncio.gather(read(parent, answers[0]), read(branch, answers[2]))
        assert len((await embed).vectors) == 1
        engine.resume("held")
        await read(held, answers[1])
        assert [answers[0].ids[0], answers[1].ids[0]] == [whole, whole]
        assert whole[-len(answers[2].ids[0]) :] == answers[2].ids[0]

    async def test_kill_while_pages_are_held(self, subject: Subject) -> None:
        """Holds end with the engine; the turn that would have had them gives the same answer."""
        whole = await subject.answer(subject.request("whole", PROMPT * 5))
        tokens = subject.request("t", PROMPT * 5).prompt_ids
        confirmed = subject.engine.hold_pages(HoldPages("h", "m", tokens, 600.0))
        assert await confirmed == len(tokens) // 16
        kill(subject.engine)
        next_turn = replace(subject.request("next", PROMPT * 5), hold_id="h")
        assert (await subject.answer(next_turn)).ids == whole.ids
        assert subject.engine.stats.holds == ()
        subject.engine.release_pages("h")

    async def test_kill_during_load(self, subject: Subject) -> None:
        """A load in flight is begun again, and answered once."""
        await subject.engine.unload("m")
        load = asyncio.ensure_future(subject.engine.load(subject.spec))
        await asyncio.sleep(0)
        kill(subject.engine)
        assert (await load).name == "m"
        assert set(subject.engine.models) == {"m"}


def kill(engine: Engine) -> None:
    """Kill the engine's process; it cannot notice."""
    assert engine.os_pid
    os.kill(engine.os_pid, signal.SIGKILL)
