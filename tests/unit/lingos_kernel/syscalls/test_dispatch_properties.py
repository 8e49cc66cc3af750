"""Whatever happens in whatever order: every call ends once, and nothing is left of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel import Context, syscall
from lingos_kernel.processes import Signal
from lingos_kernel.security.principal import owner
from lingos_kernel.syscalls.admission import Bounds
from lingos_kernel.syscalls.events import Failure, Result
from lingos_kernel.syscalls.spec import ATTRIBUTE

ME = owner("me")
LIMIT_S = 30.0

NAMES = (
    "p.quick",
    "p.quick_sync",
    "p.wait",
    "p.wait_sync",
    "p.raise",
    "p.raise_sync",
    "p.stream",
    "p.stream_sync",
    "p.nest",
    "p.nest_sync",
    "p.stubborn",
    "p.unknown",
)


class World:
    """Syscalls of every kind; those that wait do so until `release`."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open_sync = threading.Event()

    def release(self) -> None:
        """Let everything that waits go on."""
        self.open.set()
        self.open_sync.set()

    def functions(self) -> list[Any]:
        """The syscalls, bound to this world."""
        marked = [name for name, f in vars(World).items() if hasattr(f, ATTRIBUTE)]
        return [getattr(self, name) for name in marked]

    @syscall("p.quick", cost="io")
    async def quick(self) -> int:
        """Answer at once."""
        return 1

    @syscall("p.quick_sync")
    def quick_sync(self) -> int:
        """Answer at once, on a thread."""
        return 1

    @syscall("p.wait", cost="io")
    async def wait(self) -> None:
        """Wait."""
        await self.open.wait()

    @syscall("p.wait_sync")
    def wait_sync(self) -> None:
        """Wait, on a thread."""
        self.open_sync.wait(LIMIT_S)

    @syscall("p.raise", cost="io")
    async def fail(self) -> None:
        """Raise what ends programs."""
        raise SystemExit(1)

    @syscall("p.raise_sync")
    def fail_sync(self) -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    @syscall("p.stream", cost="io")
    async def stream(self) -> AsyncIterator[int]:
        """Stream for ever."""
        while not self.open.is_set():
            yield 1
        yield 2

    @syscall("p.stream_sync")
    def stream_sync(self) -> Iterator[int]:
        """Stream for ever, on a thread."""
        while not self.open_sync.is_set():
            yield 1
        yield 2

    @syscall("p.nest", cost="io")
    async def nest(self, context: Context) -> None:
        """Wait in two nested calls."""
        await asyncio.gather(context.call("p.wait"), context.call("p.nest_sync"))

    @syscall("p.nest_sync")
    def nest_sync(self, context: Context) -> None:
        """Wait in two nested calls, on three threads."""
        context.map_sync("p.wait_sync", [{}, {}], parallel=2)

    @syscall("p.stubborn", cost="io")
    async def stubborn(self) -> None:
        """Wait, and take no notice of a cancel."""
        while not self.open.is_set():
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                continue


submissions = st.tuples(
    st.just("submit"),
    st.sampled_from(NAMES),
    st.sampled_from([None, None, 0.001]),
    st.sampled_from(["events", "result", "nobody", "leaves"]),
    st.booleans(),
)
steps = st.one_of(
    submissions,
    submissions,
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("turn"), st.integers(1, 20)),
    st.tuples(st.just("signal"), st.sampled_from(list(Signal))),
    st.tuples(st.just("nice"), st.integers(-20, 19)),
)


async def consume(call: Any, how: str) -> int:
    """Take part in a call as one kind of caller; returns how many ends it saw."""
    if how == "events":
        events = [e async for e in call.events()]
        assert isinstance(events[-1], Result | Failure)
        return sum(isinstance(e, Result | Failure) for e in events)
    if how == "leaves":
        events = call.events()
        last = await anext(events)
        await events.aclose()
        return int(isinstance(last, Failure))
    if how == "result":
        await asyncio.gather(call.result(), return_exceptions=True)
    return 1


class Run:
    """One history of a dispatcher."""

    def __init__(self, rig: Any) -> None:
        self.rig = rig
        self.process = rig.processes.open(ME, "session")
        self.calls: list[Any] = []
        self.ends: dict[str, int] = {}
        self.consumers: list[tuple[str, asyncio.Task[int]]] = []

    def submit(self, name: str, timeout_s: float | None, how: str, joins: bool) -> None:
        """Submit a call and give it a consumer."""
        pid = self.process.pid if joins and self.process.state != "ended" else None
        call = self.rig.dispatcher.submit(ME, name, {}, pid=pid, timeout_s=timeout_s)
        self.calls.append(call)
        call.on_end(self.note_end)
        self.consumers.append((how, asyncio.create_task(consume(call, how))))

    def note_end(self, call: Any) -> None:
        """Count an end."""
        self.ends[call.call_id] = self.ends.get(call.call_id, 0) + 1

    async def step(self, what: str, *options: Any) -> None:
        """Do one step of a history."""
        if what == "submit":
            self.submit(*options)
        elif what == "cancel" and self.calls:
            self.calls[options[0] % len(self.calls)].cancel("by chance")
        elif what == "turn":
            for _ in range(options[0]):
                await asyncio.sleep(0)
        elif what == "signal" and self.process.state != "ended":
            self.rig.processes.signal(self.process.pid, options[0], by=ME)
        elif what == "nice" and self.process.state != "ended":
            self.rig.processes.nice(self.process.pid, options[0], by=ME)


async def live_through(rig_type: Any, history: list[tuple[Any, ...]], stops_early: bool) -> None:
    """Run a history to its end and look at what is left."""
    rig = rig_type(bounds=Bounds(running=3, queued=4, per_principal=6))
    world = World()
    rig.add(*world.functions())
    run = Run(rig)
    for step in history:
        await run.step(*step)
    if not stops_early:
        world.release()
        if run.process.state == "stopped":
            rig.processes.signal(run.process.pid, Signal.CONT, by=ME)
        for how, task in run.consumers:
            if how != "nobody":
                assert await asyncio.wait_for(task, LIMIT_S) <= 1
    stopping = asyncio.create_task(rig.dispatcher.stop(LIMIT_S))
    await asyncio.sleep(0)
    world.release()
    assert await stopping == 0
    for _, task in run.consumers:
        assert await asyncio.wait_for(task, LIMIT_S) <= 1
    assert await asyncio.to_thread(rig.pool.shutdown, LIMIT_S) == 0
    await asyncio.sleep(0)
    assert all(isinstance(call.outcome, Result | Failure) for call in run.calls)
    assert run.ends == {call.call_id: 1 for call in run.calls}
    rig.assert_empty()
    await asyncio.sleep(0)
    assert rig.dispatcher.stats().strays == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(steps, max_size=25), st.booleans())
def test_every_call_ends_once(
    rig_type: Any, history: list[tuple[Any, ...]], stops_early: bool
) -> None:
    """Random submissions, cancels, limits, signals, lazy and leaving readers, and a shutdown."""
    asyncio.run(live_through(rig_type, history, stops_early))
