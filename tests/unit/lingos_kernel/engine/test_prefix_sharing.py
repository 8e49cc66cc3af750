"""Requests that come together and begin alike have their beginning computed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lingos_kernel.engine.messages import (
    Cancel,
    EngineStats,
    Generate,
    Pause,
    Resume,
    SamplingParams,
    SetPriority,
)
from lingos_kernel.scheduling import shared_prefix

Drive = Callable[..., Any]
START = [10 + n % 200 for n in range(80)]
"""Five pages."""


def ask(engine: Any, request_id: str, prompt: list[int], **options: Any) -> None:
    """Start a greedy request of four tokens."""
    params = SamplingParams(max_tokens=4, ignore_eos=True)
    engine.send(Generate(request_id, "m", tuple(prompt), params, **options))


def computed(engine: Any) -> int:
    """Prompt tokens that were computed."""
    stats = [event for event in engine.events if isinstance(event, EngineStats)]
    return int(stats[-1].prompt_tokens_total)


def running(engine: Any) -> set[str]:
    """The requests that run."""
    return {s.request.id for s in engine.core.models["m"].decoder.roster.running}


@pytest.fixture
def engine(tiny_llama: Path, drive: Drive) -> Any:
    """A core that computes at most 32 tokens in a step."""
    return drive(tiny_llama, max_batch_tokens=32)


def test_the_beginning_is_computed_once(engine: Any) -> None:
    """Ten requests that differ at their ends cost one beginning and ten ends."""
    for number in range(10):
        ask(engine, f"r{number}", [*START, 5, 6, number + 20])
    engine.run()
    assert computed(engine) == len(START) + 10 * 3
    cached = [engine.last(f"r{number}").usage.cached_tokens for number in range(10)]
    assert sorted(cached) == [0] + [len(START)] * 9


def test_followers_run_as_soon_as_the_beginning_is_there(engine: Any) -> None:
    """Nobody waits for what comes after the common part."""
    ask(engine, "long", [*START[:48], *range(100, 200)])
    ask(engine, "short", [*START[:48], 7])
    engine.step()
    assert running(engine) == {"long"}
    engine.step()
    engine.step()
    assert running(engine) == {"long", "short"}
    engine.run()


def test_sharing_changes_no_answer(
    tiny_llama: Path, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens with and without."""
    prompts = [[*START[: 16 * n], *range(30, 30 + n), 9] for n in range(6)] * 2
    answers = []
    for least in (shared_prefix.MIN_SHARED_PAGES, 1000):
        monkeypatch.setattr(shared_prefix, "MIN_SHARED_PAGES", least)
        engine = drive(tiny_llama, max_batch_tokens=32)
        for number, prompt in enumerate(prompts):
            ask(engine, f"r{number}", prompt)
        engine.run()
        answers.append(([engine.tokens(f"r{n}") for n in range(len(prompts))], computed(engine)))
    (shared, fewer), (alone, more) = answers
    assert shared == alone
    assert fewer < more


@pytest.mark.parametrize("what", ["cancel", "preempt", "pause"])
def test_followers_go_on_when_the_leader_does_not(engine: Any, what: str) -> None:
    """A leader that is cancelled, put out or paused holds up nobody."""
    ask(engine, "leader", [*START, 1])
    ask(engine, "follower", [*START, 2])
    engine.step()
    assert running(engine) == {"leader"}
    if what == "cancel":
        engine.send(Cancel("leader"))
    elif what == "pause":
        engine.send(Pause("leader"))
    else:
        engine.core.preempt("leader")
        engine.send(SetPriority("leader", 10))
    engine.step()
    assert "follower" in running(engine)
    engine.send(Resume("leader"))
    engine.run()
    assert len(engine.tokens("follower")) == 4


def test_a_follower_that_becomes_more_urgent_goes_at_once(engine: Any) -> None:
    """It does not wait for what is less urgent than itself."""
    ask(engine, "leader", [*START, 1])
    ask(engine, "follower", [*START, 2])
    engine.step()
    engine.send(SetPriority("follower", -5))
    engine.step()
    assert running(engine) == {"leader", "follower"}
    engine.run()


def test_tenants_compute_for_themselves(engine: Any) -> None:
    """Another tenant's prompt tells nothing by how soon it is done."""
    ask(engine, "red", [*START, 1], tenant="red")
    ask(engine, "blue", [*START, 2], tenant="blue")
    engine.step()
    assert running(engine) == {"red", "blue"}
    engine.run()
    assert computed(engine) == 2 * (len(START) + 1)


def test_a_leader_without_tokens_leads_nobody(tiny_llama: Path, drive: Drive) -> None:
    """When a step has none for the leader's prompt, the follower stops waiting for it."""
    engine = drive(tiny_llama, max_batch_tokens=2)
    ask(engine, "leader", [*START, 1])
    ask(engine, "follower", [*START, 2])
    engine.step()
    for number in range(2):
        ask(engine, f"filler{number}", [3, 4])
    engine.step()
    engine.step()
    roster = engine.core.models["m"].decoder.roster
    roster._starved = set(roster.running)
    engine.step()
    assert "follower" in running(engine)
    engine.run()


actions = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 5), st.integers(0, 3), st.integers(-2, 2)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("preempt"), st.integers(0, 9)),
    st.tuples(st.just("pause"), st.integers(0, 9)),
    st.tuples(st.just("resume"), st.integers(0, 9)),
    st.tuples(st.just("renice"), st.integers(0, 9), st.integers(-2, 2)),
    st.tuples(st.just("step"), st.integers(1, 4)),
)


@pytest.fixture(scope="module")
def small(tiny_llama: Path, drive: Drive) -> Any:
    """A core with few pages and places."""
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes
    return drive(tiny_llama, kv_bytes=16 * page_bytes, max_running=4, max_batch_tokens=24)


def act(engine: Any, number: int, action: tuple[Any, ...]) -> None:
    """Carry out an action."""
    what, *values = action
    if what == "ask":
        pages, end, priority = values
        ask(engine, f"r{number}", [*START[: 16 * pages], 5, 200 + end], priority=priority)
    elif what == "step":
        engine.step(values[0])
    elif what == "preempt":
        engine.core.preempt(f"r{values[0]}")
    else:
        commands: dict[str, Any] = {
            "cancel": Cancel, "pause": Pause, "resume": Resume, "renice": SetPriority
        }  # fmt: skip
        engine.send(commands[what](f"r{values[0]}", *values[1:]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=st.lists(actions, max_size=25))
def test_everybody_ends_whatever_happens_to_the_leaders(
    small: Any, script: list[tuple[Any, ...]]
) -> None:
    """No request waits for ever, and the pages add up after each action."""
    small.outputs.clear()
    for number, action in enumerate(script):
        act(small, number, action)
        small.core.check_integrity()
    roster = small.core.models["m"].decoder.roster
    for request in list(roster.requests.values()):
        small.send(Resume(request.id))
    for _ in range(3000):
        if not small.core.has_work:
            break
        small.step()
    assert not small.core.has_work
    cancelled = {f"r{action[1]}" for action in script if action[0] == "cancel"}
    asked = {f"r{number}" for number, action in enumerate(script) if action[0] == "ask"}
    for request_id in asked - cancelled:
        assert len(small.tokens(request_id)) == 4
