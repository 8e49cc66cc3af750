"""Random lives of an engine: whatever happens, every consumer gets exactly its text."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.engine.messages import Generate, ModelSpec, SamplingParams
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.testing import FakeClock, ScriptedEngine

POLICY = RestartPolicy(
    first_delay_s=0.0, max_delay_s=0.0, max_crashes=1000, poison_crashes=1000, suspect_crashes=3
)
TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich."

Action = tuple[str, int]
ACTIONS = st.tuples(
    st.sampled_from(["generate", "fork", "pause", "resume", "close", "renice", "crash", "step"]),
    st.integers(0, 7),
)


@dataclass
class Consumer:
    """A reader of one stream, and what it read so far."""

    task: asyncio.Task[None]
    ids: list[int] = field(default_factory=list)
    finishes: int = 0
    is_branch: bool = False


class Life:
    """An engine with its consumers."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(
            is_automatic=False,
            clock=FakeClock(),
            settings=EngineSettings(max_running=2),
            restart=POLICY,
        )
        self.consumers: dict[str, Consumer] = {}
        self.closed: set[str] = set()

    async def act(self, name: str, number: int) -> None:
        """Do one random thing, then let the loop turn a few times."""
        ids = list(self.consumers)
        target = ids[number % len(ids)] if ids else ""
        match name:
            case "generate":
                self._start(f"r{len(ids)}", None)
            case "crash":
                self.engine.crash()
                if number % 2:
                    await self.engine.start()
            case "step":
                self.engine.step(number)
            case _ if target:
                self._act_on(target, name, number)
        for _ in range(number):
            await asyncio.sleep(0)

    def _act_on(self, target: str, name: str, number: int) -> None:
        match name:
            case "fork" if not self.consumers[target].task.done():
                self._start(f"b{len(self.consumers)}", target)
            case "close":
                self.closed.add(target)
                self.consumers[target].task.cancel()
            case "pause":
                self.engine.pause(target)
            case "resume":
                self.engine.resume(target)
            case "renice":
                self.engine.set_priority(target, number - 4)

    def _start(self, request_id: str, parent: str | None) -> None:
        async def read() -> None:
            if parent is None:
                params = SamplingParams(max_tokens=100)
                request = Generate(request_id, "m", tuple(TEXT.encode()), params)
                stream = self.engine.generate(request)
            else:
                stream = self.engine.fork(parent, request_id)
            try:
                async for output in stream:
                    consumer.ids += output.token_ids
                    consumer.finishes += output.finish_reason is not None
            finally:
                await stream.aclose()

        consumer = Consumer(asyncio.ensure_future(read()), is_branch=parent is not None)
        self.consumers[request_id] = consumer

    async def finish(self) -> None:
        """Let everything run to its end."""
        await self.engine.start()
        for request_id in self.consumers:
            self.engine.resume(request_id)
        while any(not consumer.task.done() for consumer in self.consumers.values()):
            self.engine.step()
            await asyncio.sleep(0)


async def live(actions: list[Action]) -> None:
    """Do the actions, let everything end, and check every stream."""
    life = Life()
    await life.engine.start()
    await life.engine.load(ModelSpec(name="m", path=""))
    for name, number in actions:
        await life.act(name, number)
    await asyncio.wait_for(life.finish(), 20)
    whole = [*TEXT.encode(), 257]
    for request_id, consumer in life.consumers.items():
        if request_id in life.closed or consumer.task.exception():
            continue  # a fork of a request that had just ended
        assert consumer.finishes == 1
        if consumer.is_branch:
            assert whole[-len(consumer.ids) :] == consumer.ids
        else:
            assert consumer.ids == whole
    life.engine.step()
    assert life.engine.stats.sequences == ()
    await life.engine.stop()


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=40))
def test_every_stream_is_exact(actions: list[Action]) -> None:
    """Crashes, pauses, forks, closes and renices never lose, double or reorder a token."""
    asyncio.run(live(actions))
