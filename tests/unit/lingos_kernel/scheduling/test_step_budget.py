"""The prompt tokens of a step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingos_kernel.scheduling.batcher import UNLIMITED
from lingos_kernel.scheduling.step_budget import URGENT_PACE, StepBudget


def trained(
    budget: StepBudget, *, base_s: float = 0.01, row_s: float = 0.001, token_s: float = 0.0002
) -> StepBudget:
    """A budget that saw steps of a machine with these times."""
    for step in range(60):
        rows, tokens = step % 9, 37 * (step % 7)
        budget.observe(rows, tokens, base_s + row_s * rows + token_s * tokens)
    return budget


def test_before_it_knows_prefill_gets_everything() -> None:
    """Nothing is held back on a guess."""
    assert StepBudget(max_tokens=512).prefill_tokens(8) == 512


@given(
    st.floats(0.001, 0.1),
    st.floats(0, 0.01),
    st.floats(1e-5, 0.01),
    st.integers(1, 64),
    st.floats(1.5, 5),
)
def test_a_step_keeps_its_pace(
    base_s: float, row_s: float, token_s: float, rows: int, pace: float
) -> None:
    """With as many tokens as it gives, a step lasts at most pace times a decode-only one."""
    budget = StepBudget(max_tokens=512, pace=pace)
    trained(budget, base_s=base_s, row_s=row_s, token_s=token_s)
    tokens = budget.prefill_tokens(rows)
    decode_s = base_s + row_s * rows
    if tokens > 32:
        assert decode_s + token_s * tokens <= 1.05 * pace * decode_s
        assert decode_s + token_s * (tokens + 1) >= 0.95 * pace * decode_s
    else:
        assert tokens == 32


def test_it_follows_a_machine_that_slows_down() -> None:
    """When tokens become dearer, there are fewer of them."""
    budget = trained(StepBudget(max_tokens=512))
    before = budget.prefill_tokens(8)
    for _ in range(10):
        trained(budget, token_s=0.0004)
    assert budget.prefill_tokens(8) == pytest.approx(before / 2, rel=0.1)


def test_a_hiccup_is_no_trend() -> None:
    """One step of a minute changes little, and a clock that stands still nothing."""
    budget = trained(StepBudget(max_tokens=512))
    before = budget.prefill_tokens(8)
    budget.observe(8, 100, 60.0)
    budget.observe(8, 100, 0.0)
    assert budget.prefill_tokens(8) == pytest.approx(before, rel=0.5)


def test_only_equals_and_more_urgent_ones_are_waited_for(item: Any) -> None:
    """A prompt that is more urgent than all who decode gets the whole step."""
    budget = trained(StepBudget(max_tokens=512))
    decoding = [item(f"d{n}", priority=0) for n in range(8)]
    equal, urgent = item("p", remaining=900), item("u", priority=-1, remaining=900)
    assert budget.allowance(decoding).tokens == 512
    assert budget.allowance([equal]).tokens == 512
    assert budget.allowance([*decoding, equal]).tokens == 8 + budget.prefill_tokens(8) < 512
    assert budget.allowance([*decoding, urgent]).tokens == 512
    assert budget.allowance([*decoding, item("v", priority=-1), urgent]).tokens < 512


@given(st.integers(2, 900), st.integers(0, 5), st.integers(0, 64), st.integers(0, 5))
def test_an_urgent_prompt_s_step_is_little_longer_than_alone(
    item: Any, prompt: int, urgent_rows: int, rows: int, prompts: int
) -> None:
    """What less urgent work adds is half of what the urgent work takes, at most."""
    budget = trained(StepBudget(max_tokens=512))
    urgent = [item(f"u{n}", priority=-1) for n in range(urgent_rows)]
    urgent.append(item("p", priority=-1, remaining=prompt))
    batch = [item(f"d{n}") for n in range(rows)]
    batch += [item(f"b{n}", remaining=900) for n in range(prompts)]
    allowance = budget.allowance([*urgent, *batch])
    computed = min(prompt, allowance.tokens - urgent_rows)
    alone_s = budget.step_s(urgent_rows, computed)
    decoding = min(allowance.others, rows)
    others = allowance.others - decoding if prompts else 0
    if batch:
        step_s = budget.step_s(urgent_rows + decoding, computed + others)
        assert step_s <= URGENT_PACE * alone_s * 1.001
        longer_s = budget.step_s(urgent_rows + decoding, computed + others + 6)
        assert not prompts or longer_s > URGENT_PACE * alone_s * 0.999
    else:
        assert allowance.others == UNLIMITED


def test_prefill_always_proceeds(item: Any) -> None:
    """Even on a machine where a prompt token costs more than a step, some are computed."""
    budget = trained(StepBudget(max_tokens=512, min_prefill_tokens=32), token_s=1.0)
    assert budget.allowance([item("d"), item("p", remaining=900)]).tokens == 33
