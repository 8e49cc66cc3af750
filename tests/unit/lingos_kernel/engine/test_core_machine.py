"""All that an engine core can do at once: it goes on, leaks nothing, and says the same as alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lingos_kernel.engine.messages import (
    Cancel,
    DropCache,
    Fork,
    Generate,
    HoldPages,
    Pause,
    ReleasePages,
    Resume,
    SamplingParams,
    SetPolicy,
    SetPriority,
)
from lingos_kernel.errors import InvalidArguments, OutOfMemory, UnknownName
from lingos_kernel.scheduling.catalogue import POLICIES

PAGES = 12
MOST_STEPS = 3000
"""Far more than all requests of a script need together."""
SYSTEM = list(range(10, 58))
PROMPTS = [
    [5, 6, 7],
    [*SYSTEM, 77, 78],
    [*SYSTEM, 91, 92, 93],
    [*SYSTEM[:32], *range(150, 180)],
    list(range(100, 160)),
]

numbers = st.integers(0, 11)
priorities = st.integers(-3, 3)
homes = st.sampled_from([("red", ""), ("blue", ""), ("red", "common"), ("blue", "common")])


@pytest.fixture(scope="module", params=["native", "int8", "tiers", "int8 and tiers"])
def engine(
    request: pytest.FixtureRequest,
    tiny_llama: Path,
    drive: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """One engine for all examples, with little memory; each example leaves it empty."""
    kv = "int8" if "int8" in request.param else "native"
    page_bytes = drive(tiny_llama, kv=kv).core.models["m"].info.page_bytes
    tiers: dict[str, Any] = {}
    if "tiers" in request.param:
        folder = tmp_path_factory.mktemp("kv")
        tiers = {
            "host_kv_bytes": 4 * page_bytes,
            "disk_kv_dir": str(folder),
            "disk_kv_bytes": 1 << 20,
        }
    return drive(
        tiny_llama,
        kv_bytes=PAGES * page_bytes,
        max_running=5,
        max_batch_tokens=24,
        kv=kv,
        **tiers,
    )


class Crowd(RuleBasedStateMachine):
    """Requests, branches and holds of two tenants under policies that change."""

    def __init__(self, engine: Any) -> None:
        super().__init__()
        self.engine = engine
        self.expected: dict[str, Generate] = {}
        """Requests that are to say all they were asked for, the same as alone."""
        self.names: list[str] = []
        engine.outputs.clear()
        engine.errors.clear()

    @property
    def roster(self) -> Any:
        """Of the engine's only model."""
        return self.engine.core.models["m"].decoder.roster

    def named(self, number: int) -> str:
        """A request that there is or was."""
        return self.names[number % len(self.names)] if self.names else "nobody"

    # What is asked of it

    @rule(
        prompt=st.sampled_from(PROMPTS),
        choices=st.integers(1, 3),
        tokens=st.integers(0, 20),
        home=homes,
        priority=priorities,
        held=numbers,
        is_paused=st.booleans(),
    )
    def ask(
        self,
        prompt: list[int],
        choices: int,
        tokens: int,
        home: tuple[str, str],
        priority: int,
        held: int,
        is_paused: bool,
    ) -> None:
        """A new request, perhaps the next turn of a hold, perhaps paused from the beginning."""
        name = f"r{len(self.names)}"
        self.names.append(name)
        params = SamplingParams(
            temperature=1.0, seed=3, n=choices, max_tokens=tokens, ignore_eos=True
        )
        self.expected[name] = Generate(
            name,
            "m",
            tuple(prompt),
            params,
            priority=priority,
            tenant=home[0],
            share=home[1],
            program=home[0] + str(held % 3),
            deadline_s=float(held),
            hold_id=f"h{held}",
            is_paused=is_paused,
        )
        self.engine.send(self.expected[name])

    @rule(number=numbers, tokens=st.integers(0, 20))
    def fork(self, number: int, tokens: int) -> None:
        """A branch, with a limit that its parent may have passed already."""
        name = f"f{len(self.names)}"
        params = SamplingParams(max_tokens=tokens, ignore_eos=True)
        self.engine.send(Fork(self.named(number), name, params))
        self.names.append(name)

    @rule(number=numbers, prompt=st.sampled_from(PROMPTS), home=homes, priority=priorities)
    def hold(self, number: int, prompt: list[int], home: tuple[str, str], priority: int) -> None:
        """Keep the pages of a prompt, for whoever comes next."""
        command = HoldPages(
            f"h{number}",
            "m",
            tuple(prompt),
            for_s=0.02,
            tenant=home[0],
            share=home[1],
            priority=priority,
            after=self.named(number),
        )
        self.engine.send(command)

    @rule(number=numbers)
    def release(self, number: int) -> None:
        """End a hold."""
        self.engine.send(ReleasePages(f"h{number}"))

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        """End a request; it need not be whole."""
        self.expected.pop(self.named(number), None)
        self.engine.send(Cancel(self.named(number)))

    @rule(number=numbers, is_paused=st.booleans())
    def pause(self, number: int, is_paused: bool) -> None:
        """Stop a request, or let it go on."""
        command = Pause if is_paused else Resume
        self.engine.send(command(self.named(number)))

    @rule(number=numbers, priority=priorities)
    def renice(self, number: int, priority: int) -> None:
        """A request, and a hold."""
        self.engine.send(SetPriority(self.named(number), priority))
        self.engine.send(SetPriority(f"h{number}", priority))

    @rule(number=numbers, shortage=st.sampled_from(["slots", "pages"]))
    def preempt(self, number: int, shortage: Any) -> None:
        """Take a request's places, and its pages if those are short."""
        self.engine.core.preempt(self.named(number), shortage)

    @rule(policy=st.sampled_from(sorted(POLICIES)), weight=st.floats(0.1, 10))
    def choose(self, policy: str, weight: float) -> None:
        """Go on by another policy."""
        self.engine.send(SetPolicy(policy, {"red": weight}))

    @rule()
    def drop(self) -> None:
        """Forget what nobody uses."""
        self.engine.send(DropCache())

    # What it does

    @rule(times=st.integers(1, 8))
    def step(self, times: int) -> None:
        """Every step computes something as long as there is work."""
        for _ in range(times):
            if self.engine.core.has_work:
                self.engine.step()
                assert self.engine.core.models["m"].decoder.last_work.kv_slots, "a step did nothing"

    @rule(times=st.integers(1, 3))
    def run_out_of_memory(self, times: int) -> None:
        """The device has no room for so many passes; a request that is alone fails."""
        runner = self.engine.core.models["m"].decoder._runner
        forward, runner.forward = runner.forward, _fail
        try:
            self.engine.step(times)
        finally:
            runner.forward = forward
        for name, error in self.engine.errors.items():
            if isinstance(error, OutOfMemory):
                self.expected.pop(name, None)

    @invariant()
    def adds_up(self) -> None:
        """Every sequence has its place and every page its holders."""
        self.engine.core.check_integrity()

    def teardown(self) -> None:
        """All that was asked for is said, as if nobody else had been there; nothing is left."""
        engine, roster = self.engine, self.roster
        for request in list(roster.requests.values()):
            engine.send(Resume(request.id))
        steps = 0
        while engine.core.has_work:
            engine.step()
            steps += 1
            assert steps < MOST_STEPS, "it does not come to an end"
        kinds = (InvalidArguments, UnknownName, OutOfMemory)
        assert all(isinstance(error, kinds) for error in engine.errors.values()), engine.errors
        assert not set(self.expected) & set(engine.errors), engine.errors
        assert not roster.requests
        self.empty()
        engine.send(SetPolicy("fifo"))
        for name, command in self.expected.items():
            alone = SamplingParams(
                temperature=1.0,
                seed=3,
                n=command.params.n,
                max_tokens=command.params.max_tokens,
                ignore_eos=True,
            )
            engine.send(Generate(f"alone-{name}", "m", command.prompt_ids, alone))
            engine.run()
            for choice in range(alone.n):
                assert engine.tokens(name, choice) == engine.tokens(f"alone-{name}", choice)
                assert len(engine.tokens(name, choice)) == alone.max_tokens
        self.empty()

    def empty(self) -> None:
        """End the holds: then every page is free."""
        for hold in list(self.roster.holds):
            self.engine.send(ReleasePages(hold.hold_id))
        self.engine.send(DropCache())
        assert self.roster.ledger.pool.free_pages == PAGES
        self.engine.core.check_integrity()


def _fail(parts: Any) -> Any:
    raise torch.OutOfMemoryError("the device is full")


def test_everything_at_once_goes_on_and_leaks_nothing(engine: Any) -> None:
    """Whatever is asked for in whatever order: it ends, and is the same as alone."""

    class CrowdHere(Crowd):
        def __init__(self) -> None:
            super().__init__(engine)

    run_state_machine_as_test(
        CrowdHere,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
