"""The engine never leaks a page and never says anything else, whatever is done to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingos_kernel.engine.messages import (
    Cancel,
    Fork,
    Generate,
    Pause,
    Resume,
    SamplingParams,
    SetPolicy,
    SetPriority,
)
from lingos_kernel.scheduling.catalogue import POLICIES

PAGES = 12
MAX_RUNNING = 4
PROMPTS = [
    [5, 6, 7],
    list(range(10, 50)),
    list(range(10, 42)),
    [*range(10, 42), 77, 78],
    list(range(100, 160)),
]

targets = st.integers(0, 7)
actions = st.one_of(
    st.tuples(
        st.just("submit"),
        st.sampled_from(PROMPTS),
        st.integers(1, 3),
        st.integers(0, 20),
        st.sampled_from(["", "red"]),
    ),
    st.tuples(st.just("cancel"), targets),
    st.tuples(st.just("fork"), targets),
    st.tuples(st.just("preempt"), targets, st.sampled_from(["slots", "pages"])),
    st.tuples(st.just("pause"), targets),
    st.tuples(st.just("resume"), targets),
    st.tuples(st.just("renice"), targets, st.integers(-20, 19)),
    st.tuples(st.just("choose"), st.sampled_from(sorted(POLICIES))),
    st.tuples(st.just("step"), st.integers(1, 6)),
)


@pytest.fixture(scope="module", params=["lost", "host", "host and disk"])
def engine(
    request: pytest.FixtureRequest,
    tiny_llama: Path,
    drive: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """One engine for all examples, with little memory; each example leaves it empty.

    What is evicted is lost, or goes down to tiers that are small, too.
    """
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes
    tiers: dict[str, Any] = {}
    if "host" in request.param:
        tiers["host_kv_bytes"] = 4 * page_bytes
    if "disk" in request.param:
        tiers["disk_kv_dir"] = str(tmp_path_factory.mktemp("kv"))
        tiers["disk_kv_bytes"] = 1 << 20
    return drive(
        tiny_llama,
        kv_bytes=PAGES * page_bytes,
        max_running=MAX_RUNNING,
        max_batch_tokens=16,
        **tiers,
    )


class Script:
    """Carries out random actions on requests by number."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.ids: list[str] = []
        self.expected: dict[str, tuple[list[int], int, int]] = {}
        engine.outputs.clear()
        engine.errors.clear()

    def submit(self, prompt: list[int], n: int, tokens: int, tenant: str) -> None:
        """Start a request of n choices, sampled by seed."""
        request_id = f"r{len(self.ids)}"
        self.ids.append(request_id)
        self.expected[request_id] = (prompt, n, tokens)
        self.engine.send(
            Generate(request_id, "m", tuple(prompt), _params(n, tokens), tenant=tenant)
        )

    def fork(self, target: int) -> None:
        """Branch a request, if it is there."""
        branch = f"{self._id(target)}-fork{len(self.ids)}"
        self.engine.send(Fork(self._id(target), branch))

    def cancel(self, target: int) -> None:
        """End a request; its choices need not be whole."""
        self.expected.pop(self._id(target), None)
        self.engine.send(Cancel(self._id(target)))

    def preempt(self, target: int, shortage: str) -> None:
        """Take a request's places, and its pages if those are short."""
        self.engine.core.preempt(self._id(target), shortage)

    def pause(self, target: int) -> None:
        """Hold a request."""
        self.engine.send(Pause(self._id(target)))

    def resume(self, target: int) -> None:
        """Let it go on."""
        self.engine.send(Resume(self._id(target)))

    def renice(self, target: int, priority: int) -> None:
        """Change its priority."""
        self.engine.send(SetPriority(self._id(target), priority))

    def choose(self, policy: str) -> None:
        """Go on by another policy."""
        self.engine.send(SetPolicy(policy, {"red": 2.0}))

    def step(self, times: int) -> None:
        """Advance."""
        self.engine.step(times)

    def finish(self) -> None:
        """Let everybody go on and run to the end."""
        for request_id in [r.id for r in self._roster.requests.values()]:
            self.engine.send(Resume(request_id))
        self.engine.run()

    @property
    def _roster(self) -> Any:
        return self.engine.core.models["m"].decoder.roster

    def check_empty(self) -> None:
        """Nobody is left and every page is free once the cache is dropped."""
        roster = self._roster
        assert not roster.requests
        assert not list(roster)
        roster.ledger.drop_cache()
        assert roster.ledger.pool.free_pages == PAGES
        self.engine.core.check_integrity()

    def _id(self, target: int) -> str:
        return self.ids[target % len(self.ids)] if self.ids else "nobody"


def _params(n: int, tokens: int) -> SamplingParams:
    return SamplingParams(
        temperature=1.0, seed=3, n=n, max_tokens=tokens, ignore_eos=True, logprobs=1
    )


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(actions, max_size=25))
def test_any_sequence_of_commands_leaves_the_pool_full(
    engine: Any, script: list[tuple[Any, ...]]
) -> None:
    """Submit, cancel, fork, preempt, pause, resume, renice, step: every page comes back.

    Requests that were not cancelled say as many tokens as they were asked for, and the same as
    when they are alone.
    """
    run = Script(engine)
    for name, *arguments in script:
        getattr(run, name)(*arguments)
        engine.core.check_integrity()
    run.finish()
    assert set(engine.errors) <= {key for key in engine.errors if "-fork" in key}, engine.errors
    said = {
        (request_id, choice): engine.tokens(request_id, choice)
        for request_id, (_, n, _) in run.expected.items()
        for choice in range(n)
    }
    run.check_empty()
    for request_id, (prompt, n, tokens) in run.expected.items():
        alone = f"alone-{request_id}"
        engine.send(Generate(alone, "m", tuple(prompt), _params(n, tokens)))
        engine.run()
        for choice in range(n):
            assert said[request_id, choice] == engine.tokens(alone, choice)
            assert len(said[request_id, choice]) == tokens
    run.check_empty()
