"""The sums of KV memory."""

from __future__ import annotations

import pytest

from lingos_kernel.errors import OutOfMemory
from lingos_kernel.memory.planner import MemoryDemand, plan_kv, request_sums

MIB = 2**20
DEMAND = MemoryDemand(
    weight_bytes=500 * MIB, page_bytes=MIB, context_tokens=1024, expected_tokens=160, max_running=4
)


def test_n_inferences_of_c_fit_into_m() -> None:
    """N = M // C, and N times C is no more than M."""
    plan = plan_kv(DEMAND, free_bytes=400 * MIB, share=0.25)
    assert plan.pages == 100
    assert plan.inferences == 10
    assert plan.inferences * plan.inference_bytes <= plan.budget_bytes == 600 * MIB
    assert plan.budget_bytes // plan.inference_bytes == plan.inferences


def test_takes_no_more_than_full_contexts_fill() -> None:
    """More pages than all running sequences could ever hold would lie idle."""
    assert plan_kv(DEMAND, free_bytes=10**12, share=0.5).pages == 4 * 1024 // 16


def test_a_given_size_is_taken_as_it_is() -> None:
    """engine.kv_bytes overrides the share."""
    assert plan_kv(DEMAND, free_bytes=400 * MIB, share=0.25, kv_bytes=7 * MIB).kv_bytes == 7 * MIB


def test_no_room_shows_the_sums() -> None:
    """Not one page fits: the message says what was wanted and what there is."""
    with pytest.raises(OutOfMemory, match=r"1 pages of 1\.0 MiB wanted, 0\.5 MiB free"):
        plan_kv(DEMAND, free_bytes=MIB // 2, share=0.25)
    with pytest.raises(OutOfMemory):
        plan_kv(DEMAND, free_bytes=8 * MIB, share=0.25, kv_bytes=9 * MIB)


def test_request_sums_are_for_people() -> None:
    """Tokens, pages and bytes of a request beside those of the pool."""
    text = request_sums(prompt_tokens=100, max_tokens=60, choices=1, pages=4, page_bytes=MIB)
    assert "100 prompt + 60 output tokens need 10 pages (10.0 MiB), the pool has 4" in text
