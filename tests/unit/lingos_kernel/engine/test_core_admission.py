"""A small KV pool is not given to more inferences than it can carry to their end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

PAGES = 48
PROMPT_TOKENS, OUTPUT_TOKENS = 16, 48


def test_a_crowd_is_held_back_as_measured(tiny_llama: Path, drive: Callable[..., Any]) -> None:
    """N = M // C once enough have ended; never more run, and all are answered."""
    page_bytes = drive(tiny_llama, kv_bytes=1 << 20).core.models["m"].info.page_bytes
    driver = drive(tiny_llama, kv_bytes=PAGES * page_bytes, max_running=32)
    count = 60
    for index in range(count):
        prompt = [5 + (index * 7 + position * 3) % 200 for position in range(PROMPT_TOKENS)]
        driver.generate(f"r{index}", prompt, max_tokens=OUTPUT_TOKENS, ignore_eos=True)
    roster = driver.core.models["m"].decoder.roster
    assert roster.max_running == 32
    limits = set()
    while driver.core.has_work:
        before, limit = len(roster.running), roster.max_running
        driver.step()
        assert len(roster.running) <= max(before, limit)
        limits.add(limit)
    driver.core.check_integrity()
    assert not driver.errors
    assert {len(driver.tokens(f"r{index}")) for index in range(count)} == {OUTPUT_TOKENS}
    # Four pages in the end, one of them the prompt's: 2.5 in the mean, and 48 // 2.5 = 19.
    assert abs(roster.admission.pages_per_inference - 2.5) < 0.1
    assert min(limits) in (18, 19)
    (stats,) = driver.core._snapshot().models
    assert stats.max_running == roster.max_running
    assert stats.pages_per_inference == roster.admission.pages_per_inference


def test_a_device_that_is_full_does_not_stop_everything(
    tiny_llama: Path, drive: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When steps of four sequences do not fit, three run at a time, and all say what they would."""
    engine = drive(tiny_llama)
    runner = engine.core.models["m"].decoder._runner
    forward = runner.forward

    def limited(parts: Any) -> Any:
        if len(parts) > 3:
            raise torch.OutOfMemoryError("the device is full")
        return forward(parts)

    monkeypatch.setattr(runner, "forward", limited)
    for number in range(6):
        engine.generate(f"r{number}", list(range(10 + number, 50)), max_tokens=9, ignore_eos=True)
    for _ in range(500):
        engine.step()
    assert not engine.core.has_work
    assert [len(engine.tokens(f"r{number}")) for number in range(6)] == [9] * 6
    assert not engine.errors
