"""The engine over tiers: what gave way goes on with the same tokens, wherever its pages were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import (
    DropCache,
    Generate,
    SamplingParams,
    Shutdown,
    UnloadModel,
)

PROMPT = list(range(10, 90))
SAMPLED = SamplingParams(temperature=1.0, seed=5, max_tokens=12, ignore_eos=True, logprobs=0)
GREEDY = SamplingParams(max_tokens=12, ignore_eos=True, logprobs=0)


@pytest.fixture
def small(tiny_llama: Path, drive: Callable[..., Any]) -> Callable[..., Any]:
    """`small(**settings)`: an engine with twelve pages, and room for thirty in host memory."""
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes

    def make(**settings: Any) -> Any:
        tiers = {"host_kv_bytes": 30 * page_bytes, **settings}
        return drive(tiny_llama, kv_bytes=12 * page_bytes, max_running=4, **tiers)

    return make


def ask(engine: Any, request_id: str, params: SamplingParams = GREEDY, **more: Any) -> None:
    """Send the prompt."""
    engine.send(Generate(request_id, "m", tuple(PROMPT), params, **more))


def answer(engine: Any, request_id: str, params: SamplingParams = GREEDY, **more: Any) -> list[int]:
    """The prompt's answer, alone."""
    ask(engine, request_id, params, **more)
    engine.run()
    tokens: list[int] = engine.tokens(request_id)
    return tokens


def crowd_out(engine: Any, request_id: str) -> None:
    """Another prompt takes the pages of all that nobody uses."""
    prompt = tuple(range(200, 90, -1)) + tuple(range(91, 160))
    engine.send(Generate(request_id, "m", prompt, SamplingParams(max_tokens=1)))
    engine.run()


def tier(engine: Any, name: str) -> Any:
    """The statistics of a tier."""
    stats = engine.core.models["m"].decoder.tiers.stats
    return next(item for item in stats if item.name == name)


@pytest.mark.parametrize("params", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("relief", ["keep", "spill", "drop"])
def test_who_gave_way_says_the_same(
    small: Callable[..., Any], params: SamplingParams, relief: str
) -> None:
    """Pages kept, spilled and brought back, or dropped and computed again: one answer.

    The probabilities of its tokens, too, are the same to the bit.
    """
    alone = small()
    expected = answer(alone, "r", params)
    engine = small()
    decoder = engine.core.models["m"].decoder
    ask(engine, "r", params, priority=5)
    engine.step(4)
    before = len(engine.tokens("r"))
    assert 0 < before < 12
    if relief == "drop":
        decoder.prices.prefill.add(1e15, 1.0)
        decoder.prices.down["host"].add(1.0, 1.0)
    (sequence,) = decoder.roster.running
    computed = sequence.computed
    engine.core.preempt("r", "slots" if relief == "keep" else "pages")
    assert decoder.roster.reliefs == {relief: 1}
    assert (sequence.computed == computed) == (relief == "keep")
    urgent = tuple(range(250, 160, -1)) + tuple(range(161, 230))
    engine.send(Generate("urgent", "m", urgent[:144], SamplingParams(max_tokens=1), priority=0))
    if relief == "keep":
        engine.step()  # both have room in places, not in pages: the kept ones go as well
    engine.run()
    assert engine.tokens("r") == expected
    said, meant = ([o.logprobs for o in one.outputs["r", 0]] for one in (engine, alone))
    if engine.core.models["m"].info.batch_invariant or relief != "drop":
        assert said == meant
    assert engine.last("r").usage.preemptions >= 1
    assert (tier(engine, "host").restored_pages > 0) == (relief != "drop")


def test_kept_pages_serve_at_once_when_nobody_needs_them(small: Callable[..., Any]) -> None:
    """Who only lost its place goes on where it was, without computing anything again."""
    engine = small(host_kv_bytes=-1)
    roster = engine.core.models["m"].decoder.roster
    ask(engine, "r")
    engine.step(4)
    (sequence,) = roster.running
    computed, pages = sequence.computed, list(sequence.holding.pages)
    engine.core.preempt("r", "slots")
    assert not roster.running
    assert sequence.holding.pages == pages
    engine.core.check_integrity()
    engine.step()
    assert sequence.computed == computed + 1
    engine.run()
    assert engine.tokens("r") == answer(small(), "alone")


def test_kept_pages_of_a_cancelled_request_are_free(small: Callable[..., Any]) -> None:
    """Nothing holds the pages of a waiting request that is gone."""
    engine = small()
    roster = engine.core.models["m"].decoder.roster
    ask(engine, "r")
    engine.step(4)
    engine.core.preempt("r", "slots")
    roster.remove(roster.requests["r"])
    engine.core.check_integrity()
    assert roster.ledger.used_pages == 0


def test_a_prefix_comes_back_from_host_memory(small: Callable[..., Any]) -> None:
    """The tokens of an evicted prefix count as cached, and the answer is the same."""
    engine = small()
    first = answer(engine, "1")
    crowd_out(engine, "x")
    assert answer(engine, "2") == first
    assert engine.last("2").usage.cached_tokens == 64
    assert tier(engine, "host").hit_tokens >= 64 - 16


@pytest.mark.parametrize("leave", [Shutdown(), UnloadModel("m")], ids=["shutdown", "unload"])
def test_a_prefix_outlives_the_engine(
    small: Callable[..., Any], tmp_path: Path, leave: Shutdown | UnloadModel
) -> None:
    """The next engine reads the pages from the disk; another tenant's request does not."""
    settings = {"disk_kv_dir": str(tmp_path / "kv"), "disk_kv_bytes": 1 << 22}
    engine = small(**settings)
    first = answer(engine, "1", tenant="red")
    engine.send(leave)
    after = small(**settings)
    assert answer(after, "2", tenant="red") == first
    assert after.last("2").usage.cached_tokens == 64
    assert tier(after, "disk").hit_tokens == 64
    assert answer(after, "3", tenant="blue") == first
    assert after.last("3").usage.cached_tokens == 0


def test_what_is_dropped_is_gone_everywhere(small: Callable[..., Any], tmp_path: Path) -> None:
    """After `DropCache` neither this engine nor the next finds a page."""
    settings = {"disk_kv_dir": str(tmp_path / "kv"), "disk_kv_bytes": 1 << 22}
    engine = small(**settings)
    first = answer(engine, "1")
    crowd_out(engine, "x")
    engine.send(DropCache())
    assert answer(engine, "2") == first
    assert engine.last("2").usage.cached_tokens == 0
    engine.send(DropCache(), Shutdown())
    after = small(**settings)
    assert answer(after, "3") == first
    assert after.last("3").usage.cached_tokens == 0


def test_tenants_that_agreed_share_a_prefix(small: Callable[..., Any]) -> None:
    """A common name is needed on both sides; a tenant of that name is somebody else."""
    engine = small()
    first = answer(engine, "1", tenant="red", share="both")
    for index, (more, cached) in enumerate(
        [
            ({"tenant": "blue"}, 0),
            ({"tenant": "both"}, 0),
            ({"tenant": "red"}, 0),
            ({"tenant": "blue", "share": "other"}, 0),
        ]
    ):
        assert answer(engine, f"no{index}", **more) == first
        assert engine.last(f"no{index}").usage.cached_tokens == cached
    assert answer(engine, "2", tenant="blue", share="both") == first
    assert engine.last("2").usage.cached_tokens == 64


def test_a_folder_that_cannot_be_used_is_told_and_harms_nobody(
    small: Callable[..., Any], tmp_path: Path
) -> None:
    """The tier is off with its reason in the statistics; requests are served."""
    (tmp_path / "kv").write_text("a file in the folder's place")
    engine = small(disk_kv_dir=str(tmp_path / "kv"))
    assert answer(engine, "1") == answer(small(), "2")
    assert tier(engine, "disk").off_reason
    assert engine.core._snapshot().models[0].tiers[1].off_reason
