"""Pages that are kept between two turns of a program."""

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
    HoldPages,
    PagesHeld,
    ReleasePages,
    Resume,
    SamplingParams,
    SetPolicy,
    SetPriority,
)
from lingos_kernel.errors import UnknownModel
from lingos_kernel.scheduling.holds import HoldBounds

Drive = Callable[..., Any]
PAGES = 16
TALK = [10 + n % 200 for n in range(70)]
"""Four whole pages."""
OTHER = [20 + (7 * n) % 200 for n in range(150)]


@pytest.fixture(scope="module")
def shared_engine(tiny_llama: Path, drive: Drive) -> Any:
    """A core with few pages, for all tests of this file."""
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes
    return drive(tiny_llama, kv_bytes=PAGES * page_bytes, max_running=2, max_batch_tokens=256)


@pytest.fixture
def engine(shared_engine: Any) -> Any:
    """That core, idle and with nothing cached."""
    roster = roster_of(shared_engine)
    for request in list(roster.requests.values()):
        shared_engine.send(Cancel(request.id))
    for hold in list(roster.holds):
        shared_engine.send(ReleasePages(hold.hold_id))
    roster.ledger.drop_cache()
    shared_engine.outputs.clear()
    shared_engine.errors.clear()
    shared_engine.events.clear()
    shared_engine.send(SetPolicy("fifo"))
    return shared_engine


def roster_of(engine: Any) -> Any:
    """Its model's roster."""
    return engine.core.models["m"].decoder.roster


def ask(engine: Any, request_id: str, prompt: list[int], **options: Any) -> None:
    """Start a greedy request of four tokens."""
    params = SamplingParams(max_tokens=4, ignore_eos=True)
    engine.send(Generate(request_id, "m", tuple(prompt), params, **options))


def hold(engine: Any, hold_id: str, tokens: list[int], for_s: float = 60.0, **more: Any) -> int:
    """Keep what is cached of the tokens; how many pages that are."""
    engine.send(HoldPages(hold_id, "m", tuple(tokens), for_s, **more))
    answer = next(event for event in reversed(engine.events) if isinstance(event, PagesHeld))
    assert answer.hold_id == hold_id
    return int(answer.pages)


def cached(engine: Any, request_id: str) -> int:
    """How many of its prompt's tokens a finished request found."""
    return int(engine.last(request_id).usage.cached_tokens)


def said(engine: Any, prompt: list[int], **options: Any) -> list[int]:
    """A prompt with its answer: what a next turn begins with."""
    ask(engine, "first", prompt, **options)
    engine.run()
    return [*prompt, *engine.tokens("first")]


def test_held_pages_survive_a_flood(engine: Any) -> None:
    """What would be evicted without a hold is there for the next turn."""
    talk = said(engine, TALK)
    assert hold(engine, "h", talk) == 4
    ask(engine, "flood", OTHER)
    engine.run()
    ask(engine, "next", [*talk, 5, 6], hold_id="h")
    engine.run()
    assert cached(engine, "next") == 64
    assert not list(roster_of(engine).holds)


def test_without_a_hold_the_same_pages_are_evicted(engine: Any) -> None:
    """The flood needs them: this is what a hold is for."""
    talk = said(engine, TALK)
    ask(engine, "flood", OTHER)
    engine.run()
    ask(engine, "flood2", [9, *OTHER])
    engine.run()
    ask(engine, "next", [*talk, 5, 6])
    engine.run()
    assert cached(engine, "next") < 64


def test_a_hold_ends_by_itself(engine: Any) -> None:
    """After its time the pages may be evicted like any others."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, for_s=0.5)
    engine.now_s += 1
    ask(engine, "flood", OTHER)
    engine.step()
    assert not list(roster_of(engine).holds)
    engine.run()


def test_a_hold_ends_on_request(engine: Any) -> None:
    """Twice is as good as once."""
    talk = said(engine, TALK)
    hold(engine, "h", talk)
    engine.send(ReleasePages("h"), ReleasePages("h"))
    assert not list(roster_of(engine).holds)
    engine.core.check_integrity()


def test_a_waiting_turn_keeps_its_hold(engine: Any) -> None:
    """While the next turn waits for a place its pages stay, even beyond their time."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, for_s=0.5)
    for name in ("a", "b"):
        ask(engine, name, [5, 6, 7], priority=-5)
    engine.step()
    ask(engine, "next", [*talk, 5], hold_id="h")
    engine.now_s += 10
    engine.step()
    assert [held.hold_id for held in roster_of(engine).holds] == ["h"]
    engine.run()
    assert cached(engine, "next") == 64


def test_a_cancelled_turn_ends_its_hold(engine: Any) -> None:
    """The client went away while its turn was waiting."""
    talk = said(engine, TALK)
    hold(engine, "h", talk)
    ask(engine, "next", [*talk, 5], hold_id="h")
    engine.send(Cancel("next"))
    assert not list(roster_of(engine).holds)


def test_only_strictly_more_urgent_work_takes_held_pages(engine: Any) -> None:
    """Equals wait as long as others run; more urgent work does not."""
    talk = said(engine, TALK)
    long = [*OTHER, *range(10, 60)]
    hold(engine, "h", talk)
    ask(engine, "runs", [5, 6, 7])
    engine.step()
    ask(engine, "equal", long)
    engine.step()
    assert list(roster_of(engine).holds)
    engine.send(SetPriority("equal", -1))
    engine.step()
    assert not list(roster_of(engine).holds)
    engine.run()


def test_a_hold_blocks_nobody_for_ever(engine: Any) -> None:
    """When nothing else could run, the hold goes, whatever its priority."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, priority=-20)
    ask(engine, "large", [*OTHER, *range(10, 60)], priority=19)
    engine.run()
    assert len(engine.tokens("large")) == 4


def test_the_last_running_one_takes_held_pages_to_go_on(engine: Any) -> None:
    """A lone sequence that needs its next page is not put out for a hold."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, priority=-20)
    params = SamplingParams(max_tokens=60, ignore_eos=True)
    engine.send(Generate("grows", "m", tuple(OTHER), params))
    engine.run()
    assert len(engine.tokens("grows")) == 60
    assert engine.last("grows").usage.preemptions == 0


def test_the_priority_of_a_hold_follows_its_process(engine: Any) -> None:
    """Nice reaches the kept pages, too."""
    talk = said(engine, TALK)
    hold(engine, "h", talk)
    engine.send(SetPriority("h", 7))
    (held,) = roster_of(engine).holds
    assert held.priority == 7


def test_at_most_half_of_the_pages_are_held(engine: Any) -> None:
    """Beyond that the least urgent hold ends, whosever it is."""
    first = said(engine, TALK, tenant="red")
    assert hold(engine, "lazy", first, priority=5, tenant="red") == 4
    second = said(engine, [9, *TALK], tenant="blue")
    assert hold(engine, "urgent", second, priority=-5, tenant="blue") == 4
    third = said(engine, [8, *TALK[:40]])
    assert hold(engine, "third", third) == 2
    assert {held.hold_id for held in roster_of(engine).holds} == {"urgent", "third"}


def test_a_tenant_holds_three_quarters_of_that(engine: Any) -> None:
    """Beyond that its own least urgent hold ends, though another tenant's is less urgent."""
    other = said(engine, TALK[:40], tenant="blue")
    assert hold(engine, "other", other, priority=19, tenant="blue") == 2
    first = said(engine, TALK, tenant="red")
    assert hold(engine, "lazy", first, priority=5, tenant="red") == 4
    second = said(engine, [9, *TALK[:50]], tenant="red")
    assert hold(engine, "urgent", second, priority=-5, tenant="red") == 3
    assert {held.hold_id for held in roster_of(engine).holds} == {"other", "urgent"}
    stats = [event for event in engine.events if isinstance(event, EngineStats)][-1]
    (model,) = stats.models
    assert (model.pages_held, model.pages_held_most, model.pages_held_tenant_most) == (5, 8, 6)
    assert model.pages_held_by == {"blue": 2, "red": 3}


@given(st.integers(0, 10_000), st.floats(0, 2))
def test_bounds_of_holds(total_pages: int, share: float) -> None:
    """A tenant never has more than all together; with a share of 1 just as much."""
    bounds = HoldBounds.of(total_pages, share)
    assert 0 <= bounds.tenant_pages <= bounds.pages <= total_pages / 2
    assert HoldBounds.of(total_pages, 1.0).tenant_pages == bounds.pages


def test_nothing_cached_is_nothing_held(engine: Any) -> None:
    """A hold of what was never computed keeps no page."""
    assert hold(engine, "h", TALK) == 0
    assert not list(roster_of(engine).holds)


def test_other_tenants_pages_are_not_held(engine: Any) -> None:
    """A hold finds what its own tenant has computed."""
    talk = said(engine, TALK, tenant="red")
    assert hold(engine, "h", talk, tenant="blue") == 0
    assert hold(engine, "h", talk, tenant="red") == 4


def test_a_hold_for_an_unknown_model_fails(engine: Any) -> None:
    """The error names the hold."""
    engine.send(HoldPages("h", "nobody", (1, 2, 3), 1.0))
    assert isinstance(engine.errors["h"], UnknownModel)


def test_statistics_name_each_hold(engine: Any) -> None:
    """Whose, for how long, why, and how many pages."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, for_s=3.0, pid=12, why="files.read")
    stats = [event for event in engine.events if isinstance(event, EngineStats)][-1]
    (row,) = stats.holds
    assert (row.pid, row.pages, row.why, row.left_s) == (12, 4, "files.read", 3.0)
    assert stats.models[0].pages_held == 4


@pytest.mark.parametrize("policy", ["fifo", "fair", "priority", "round-robin"])
def test_the_next_turn_takes_the_place_of_the_one_before(engine: Any, policy: str) -> None:
    """Who came while the tool ran does not go first, except where turns are the policy."""
    engine.send(SetPolicy(policy))
    talk = said(engine, TALK)
    hold(engine, "h", talk, after="first")
    for name in ("a", "b", "newcomer"):
        engine.now_s += 0.1
        ask(engine, name, [5, 6, 7])
    engine.step()
    engine.now_s += 0.1
    ask(engine, "next", [*talk, 5], hold_id="h")
    order = [sequence.request.id for sequence in roster_of(engine).waiting]
    expected = ["newcomer", "next"] if policy == "round-robin" else ["next", "newcomer"]
    assert order == expected
    engine.run()
    assert engine.last("next").usage.total_s < 1


actions = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 4), st.integers(-2, 2), st.integers(-1, 5)),
    st.tuples(st.just("hold"), st.integers(0, 11), st.integers(0, 4), st.integers(-2, 2)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("renice"), st.integers(0, 5), st.integers(-2, 2)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("preempt"), st.integers(0, 20)),
    st.tuples(st.just("wait"), st.floats(0, 2)),
    st.tuples(st.just("step"), st.integers(1, 4)),
)


def act(engine: Any, number: int, action: tuple[Any, ...]) -> None:
    """Carry out an action."""
    what, *values = action
    match what:
        case "ask":
            length, priority, held = values
            prompt = [*TALK[: 16 * length], 5, number + 20]
            ask(engine, f"r{number}", prompt, priority=priority, hold_id=f"h{held}", share="all")
        case "hold":
            held, length, priority = values
            tenant = "red" if held > 5 else ""  # who shares the other's pages
            more = {"priority": priority, "tenant": tenant, "share": "all"}
            hold(engine, f"h{held}", TALK[: 16 * length], for_s=1.0, **more)
        case "release":
            engine.send(ReleasePages(f"h{values[0]}"))
        case "renice":
            engine.send(SetPriority(f"h{values[0]}", values[1]))
        case "cancel":
            engine.send(Cancel(f"r{values[0]}"))
        case "preempt":
            engine.core.preempt(f"r{values[0]}")
        case "wait":
            engine.now_s += values[0]
        case "step":
            engine.step(values[0])


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(actions, max_size=25))
def test_holds_leak_nothing_and_block_nobody(engine: Any, script: list[tuple[Any, ...]]) -> None:
    """Pages add up after each action, everybody ends, and in the end no page is held."""
    engine.outputs.clear()
    for number, action in enumerate(script):
        act(engine, number, action)
        engine.core.check_integrity()
    for _ in range(2000):
        if not engine.core.has_work:
            break
        engine.step()
    assert not engine.core.has_work
    for held in range(12):
        engine.send(ReleasePages(f"h{held}"))
    engine.core.check_integrity()
    assert not roster_of(engine).ledger.used_pages


def test_a_refused_turn_leaves_the_hold_to_its_time(engine: Any) -> None:
    """A request that cannot be served takes nothing over."""
    talk = said(engine, TALK)
    hold(engine, "h", talk, for_s=5.0)
    engine.send(Generate("bad", "m", (), hold_id="h"))
    assert "bad" in engine.errors
    engine.now_s += 6.0
    ask(engine, "later", OTHER)
    engine.run()
    assert list(roster_of(engine).holds) == []


def test_a_request_may_begin_paused(engine: Any) -> None:
    """Nothing is computed for it until it is told to go on; then it says the same."""
    talk = said(engine, TALK)
    ask(engine, "p", TALK, is_paused=True)
    assert not engine.core.has_work
    assert engine.tokens("p") == []
    engine.send(Resume("p"))
    engine.run()
    assert [*TALK, *engine.tokens("p")] == talk
