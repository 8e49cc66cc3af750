"""A request's priority decides wherever somebody must be first, and may change at any time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import Generate, SamplingParams, SetPriority

Drive = Callable[..., Any]
POLICIES = ["attained-service", "deadline", "fair", "fifo", "priority", "round-robin"]


def prompt_of(name: str, length: int = 40) -> tuple[int, ...]:
    """A prompt that begins like no other's."""
    return tuple(20 + (ord(name[0]) * 7 + index) % 200 for index in range(length))


def ask(engine: Any, name: str, priority: int, *, tokens: int = 6, length: int = 40) -> None:
    """A request of this priority."""
    params = SamplingParams(max_tokens=tokens, ignore_eos=True)
    engine.send(Generate(name, "m", prompt_of(name, length), params, priority=priority))


def running(engine: Any) -> list[str]:
    """Names of the running ones."""
    return sorted(s.request.id for s in engine.core.models["m"].decoder.roster.running)


def is_done(engine: Any, name: str) -> bool:
    """Whether the request has ended."""
    return bool(engine.outputs.get((name, 0))) and engine.last(name).finish_reason is not None


def order_of_ends(engine: Any) -> list[str]:
    """Run to the end; who ended when."""
    ended: list[str] = []
    while engine.core.has_work:
        engine.step()
        ended += [name for name, _ in engine.outputs if name not in ended and is_done(engine, name)]
    engine.core.check_integrity()
    return ended


@pytest.mark.parametrize("policy", POLICIES)
def test_it_orders_the_queue(tiny_llama: Path, drive: Drive, policy: str) -> None:
    """The more urgent run first, whenever they came; a new priority is a new place."""
    engine = drive(tiny_llama, max_running=1, policy=policy)
    for name, priority in (("now", -9), ("a", 4), ("b", 2), ("c", 0), ("d", 3)):
        ask(engine, name, priority)
    engine.send(SetPriority("d", -1))
    assert order_of_ends(engine) == ["now", "d", "c", "b", "a"]


@pytest.mark.parametrize("policy", POLICIES)
def test_it_picks_who_gives_way_and_who_comes_back(
    tiny_llama: Path, drive: Drive, policy: str
) -> None:
    """The least urgent is put out first, and the most urgent of those put out is back first."""
    engine = drive(tiny_llama, max_running=3, policy=policy)
    for name, priority in (("a", 9), ("b", 7), ("c", 5)):
        ask(engine, name, priority, tokens=30)
    engine.step(2)
    assert running(engine) == ["a", "b", "c"]
    engine.send(SetPriority("c", 10))
    ask(engine, "u", -5, tokens=4)
    engine.step()
    assert running(engine) == ["a", "b", "u"]
    ask(engine, "v", -5, tokens=20)
    engine.step()
    assert running(engine) == ["b", "u", "v"]
    engine.send(SetPriority("c", 6))
    while not is_done(engine, "u"):
        engine.step()
    engine.step()
    assert running(engine) == ["b", "c", "v"]
    assert set(order_of_ends(engine)) == {"a", "b", "c", "u", "v"}


def test_it_decides_whose_cached_pages_go_first(tiny_llama: Path, drive: Drive) -> None:
    """What less urgent work left in the cache is evicted before what was used longer ago."""
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes
    engine = drive(tiny_llama, kv_bytes=9 * page_bytes)
    for name, priority in (("urgent", -5), ("lazy", 10)):
        ask(engine, name, priority, length=50, tokens=2)
        engine.run()
    ask(engine, "big", 0, length=90, tokens=2)
    engine.run()
    for name, priority, cached in (("urgent", -5, 48), ("lazy", 10, 0)):
        again = Generate(
            f"{name} again",
            "m",
            prompt_of(name, 50),
            SamplingParams(max_tokens=1),
            priority=priority,
        )
        engine.send(again)
        engine.run()
        assert engine.last(again.request_id).usage.cached_tokens == cached
