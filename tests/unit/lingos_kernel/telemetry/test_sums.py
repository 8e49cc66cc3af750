"""The sums of the source papers, worked by hand."""

from __future__ import annotations

import pytest

from lingos_kernel.engine.messages import EngineStats, ModelLoaded
from lingos_kernel.engine.stat_rows import ModelStats, SequenceStats
from lingos_kernel.telemetry.sums import EXPECTED_TOKENS, inference_bytes, sums
from lingos_kernel.threads.sizing import ThreadSums

THREADS = ThreadSums(task_s=2.0, threads=3, average_s=0.5, switch_s=0.1, wanted=3.3)


def loaded(weight_bytes: int = 1_000, page_bytes: int = 10, pages: int = 64) -> ModelLoaded:
    """A model with so much memory."""
    return ModelLoaded(
        name="m", kind="causal", architecture="A", dtype="float32", parameters=250,
        weight_bytes=weight_bytes, kv_bytes=page_bytes * pages, page_bytes=page_bytes, pages=pages,
        context_tokens=1_024, vocabulary=10, hidden_size=4, load_s=0.1,
    )  # fmt: skip


def sequence(prompt_tokens: int, output_tokens: int) -> SequenceStats:
    """A sequence of so many tokens."""
    return SequenceStats(
        request_id="r", choice=0, pid=1, model="m", state="decode", priority=0,
        queue_position=None, prompt_tokens=prompt_tokens, computed_tokens=0,
        output_tokens=output_tokens, cached_tokens=0, pages=0, kv_bytes=0, waited_s=0,
        running_s=0, first_token_s=None, tokens_per_s=0, preemptions=0,
    )  # fmt: skip


def test_an_inference_costs_its_pages_and_a_share_of_the_weights() -> None:
    """100 tokens are 7 pages of 10 bytes; 9 fit into 64 pages, so each bears a ninth of 1,000."""
    stats = EngineStats(step=1, time_s=0, sequences=(sequence(90, 10),))
    assert inference_bytes(stats, {"m": loaded()}) == pytest.approx(70 + 1_000 / 9)


def test_before_anything_runs_a_typical_length_is_expected() -> None:
    """512 tokens are 32 pages; two fit."""
    assert EXPECTED_TOKENS == 512
    stats = EngineStats(step=0, time_s=0)
    assert inference_bytes(stats, {"m": loaded()}) == pytest.approx(320 + 500)


def test_n_inferences_of_cost_c_fill_the_budget_and_the_load_says_how_much() -> None:
    """M = 1,640, C = 820: two fit, and one that runs loads it by half."""
    live = ModelStats("m", 1_000, 10, 64, 0, 0, 64, running=1, waiting=0)
    stats = EngineStats(step=1, time_s=0, models=(live,), step_s=0.02, floor_share=0.5)
    found = sums(stats, {"m": loaded()}, THREADS, [(10, 0.5), (3, 0.0)])
    assert found.memory_budget_bytes == 1_640
    assert found.memory_per_inference_bytes == pytest.approx(820)
    assert found.inferences_that_fit == 2
    assert found.load == pytest.approx(0.5)
    assert found.decode_floor_s == pytest.approx(0.01)
    assert found.library_efficiency == pytest.approx(20)
    assert (found.thread_task_s, found.threads_wanted) == (2.0, 3.3)


def test_nothing_loaded_gives_zeros() -> None:
    """No model, no division by zero."""
    found = sums(EngineStats(step=0, time_s=0), {}, THREADS, [])
    assert (found.memory_per_inference_bytes, found.inferences_that_fit, found.load) == (0, 0, 0)
