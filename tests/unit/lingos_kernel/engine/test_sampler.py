"""The sampler: equal to plain formulas, fair in its draws, deaf to batch-mates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.engine import random_draw
from lingos_kernel.engine.grammar import GrammarCompiler
from lingos_kernel.engine.messages import Grammar, SamplingParams
from lingos_kernel.engine.random_draw import random_bits
from lingos_kernel.engine.sampler import Sampler, SamplingRow, prompt_logprobs
from lingos_kernel.models.text_codec import TextCodec

VOCABULARY = 320


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def logits(rows: int = 1, seed: int = 0, vocabulary: int = VOCABULARY) -> torch.Tensor:
    """Random logits, [rows, vocabulary]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary, generator=generator) * 3


def row(params: SamplingParams, prompt: Any = (), output: Any = (), **rest: Any) -> SamplingRow:
    """A row without a grammar."""
    return SamplingRow(params, list(prompt), list(output), **rest)


def tokens(values: torch.Tensor, *rows: SamplingRow) -> list[int]:
    """What a fresh sampler chooses."""
    return [chosen.token_id for chosen in Sampler().sample(values, rows)]


def support(values: torch.Tensor, params: dict[str, Any], draws: int = 4000) -> set[int]:
    """All tokens that come up in many draws from one row of logits."""
    many = [row(SamplingParams(temperature=1.0, seed=seed, **params)) for seed in range(draws)]
    return set(tokens(values.expand(draws, -1), *many))


def test_greedy_takes_the_first_of_the_likeliest() -> None:
    """Temperature 0 is argmax; of equals, the lowest id."""
    values = logits(3)
    values[1, [7, 200]] = 99.0
    chosen = tokens(values, *[row(SamplingParams())] * 3)
    assert chosen == values.argmax(-1).tolist()
    assert chosen[1] == 7


def test_logits_are_left_as_they_are() -> None:
    """The caller's logits do not change, whatever the rules."""
    values = logits(2)
    before = values.clone()
    everything = SamplingParams(
        temperature=0.7,
        top_k=9,
        top_p=0.8,
        min_p=0.01,
        repetition_penalty=1.3,
        presence_penalty=0.4,
        frequency_penalty=0.2,
        logit_bias={3: 2.0},
        min_tokens=9,
        logprobs=3,
    )
    tokens(values, row(everything, [1, 2], [3, 3]), row(SamplingParams()))
    assert torch.equal(values, before)


def chi_squared_excess(counts: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """How many standard deviations the statistic lies above its mean; rare cells are pooled."""
    order = np.argsort(expected)
    rare = np.cumsum(expected[order]) < 20
    groups = [(counts[order][rare].sum(), expected[order][rare].sum())] if rare.any() else []
    groups += list(zip(counts[order][~rare], expected[order][~rare], strict=True))
    statistic = sum((count - mean) ** 2 / mean for count, mean in groups if mean > 0)
    freedom = len(groups) - 1
    return float((statistic - freedom) / math.sqrt(2 * freedom))


@pytest.mark.parametrize(
    ("temperature", "vary"), [(1.0, "seed"), (0.6, "position"), (1.7, "choice")]
)
def test_draws_follow_the_distribution(temperature: float, vary: str) -> None:
    """A chi-squared test over 40,000 draws, for each part of the key."""
    count, size = 40_000, 64
    values = logits(vocabulary=size)
    rows = [
        row(
            SamplingParams(temperature=temperature, seed=i if vary == "seed" else 5),
            choice=i if vary == "choice" else 0,
            position=i if vary == "position" else 0,
        )
        for i in range(count)
    ]
    counts = np.bincount(tokens(values.expand(count, -1), *rows), minlength=size)
    expected = (values[0].double() / temperature).softmax(-1).numpy() * count
    assert chi_squared_excess(counts, expected) < 5


def test_random_bits_are_uniform_and_differ_by_each_part() -> None:
    """The bits do not repeat for near keys, and their bytes are even."""
    keys = [(s, c, p) for s in (-1, 0, 1, 2**63) for c in range(10) for p in range(500)]
    bits = [random_bits(*key) for key in keys]
    assert len(set(bits)) == len(keys)
    counts = np.bincount([number >> 56 for number in bits], minlength=256)
    assert abs(chi_squared_excess(counts, np.full(256, len(keys) / 256))) < 5


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_batch_mates_change_nothing(data: st.DataObject) -> None:
    """A row's token is the same alone, in any batch, and in any order."""
    count = data.draw(st.integers(1, 20))
    values = logits(count, seed=data.draw(st.integers(0, 99)))
    parameters = st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        top_k=st.sampled_from([0, 1, 5, 1000]),
        top_p=st.sampled_from([0.1, 0.9, 1.0]),
        min_p=st.sampled_from([0.0, 0.1]),
        repetition_penalty=st.sampled_from([1.0, 1.2]),
        frequency_penalty=st.sampled_from([0.0, 0.5]),
        seed=st.integers(-(2**63), 2**63),
    )
    rows = [
        row(data.draw(parameters), prompt=[1, 2, 3], output=[5] * i, eos_ids=frozenset([2]))
        for i in range(count)
    ]
    together = tokens(values, *rows)
    order = data.draw(st.permutations(range(count)))
    shuffled = tokens(values[order], *[rows[i] for i in order])
    alone = [tokens(values[i : i + 1], rows[i])[0] for i in range(count)]
    assert together == alone
    assert [together[i] for i in order] == shuffled


def test_top_k_keeps_the_k_likeliest() -> None:
    """No other token comes up, and k beyond the vocabulary keeps all."""
    values = logits()
    assert support(values * 0.1, {"top_k": 5}) == set(values.topk(5).indices[0].tolist())
    assert tokens(values, row(SamplingParams(temperature=1.0, top_k=10**6)))


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_keeps_the_smallest_sufficient_set(top_p: float) -> None:
    """The likeliest tokens whose probability reaches top_p, and no more."""
    values = logits()
    ordered, ids = values[0].double().softmax(-1).sort(descending=True)
    needed = int((ordered.cumsum(-1) < top_p).sum()) + 1
    nucleus = set(ids[:needed].tolist())
    seen = support(values, {"top_p": top_p})
    assert seen <= nucleus
    assert float(sum(ordered[i] for i in range(needed) if int(ids[i]) not in seen)) < 0.01


def test_both_searches_for_the_nucleus_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search for GPUs and the one for CPUs give the same tokens."""
    values = logits(40)
    rows = [
        row(SamplingParams(temperature=1.0, top_p=share / 40, top_k=share % 3 * 50, seed=share))
        for share in range(40)
    ]
    by_sort = tokens(values, *rows)
    monkeypatch.setattr(random_draw, "_floors_by_sort", random_draw._floors_by_topk)
    assert tokens(values, *rows) == by_sort


def test_the_last_bits_of_logits_hardly_change_a_draw() -> None:
    """What is computed again in another batch, equal up to rounding, draws the same tokens."""
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(1, 4000, generator=generator).mul_(2.5).repeat(4000, 1)
    rounded = values + 5e-5 * torch.randn(values.shape, generator=generator)
    rows = [row(SamplingParams(temperature=0.8, seed=seed)) for seed in range(len(values))]
    pairs = zip(tokens(values, *rows), tokens(rounded, *rows), strict=True)
    assert sum(before != after for before, after in pairs) <= 1


def test_top_p_sees_what_top_k_left() -> None:
    """Top-p shares are those among the tokens that top-k keeps."""
    values = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    assert support(values, {"top_p": 0.5}) == {0, 1}
    assert support(values, {"top_k": 2, "top_p": 0.5}) == {0}
    assert support(values, {"top_p": 0.0}) == {0}


def test_min_p_is_relative_to_the_likeliest() -> None:
    """Tokens less likely than min_p times the likeliest never come."""
    values = torch.log(torch.tensor([[0.5, 0.3, 0.11, 0.09]]))
    assert support(values, {"min_p": 0.2}) == {0, 1, 2}
    assert support(values, {"min_p": 1.0}) == {0}


def test_a_tiny_temperature_is_greedy() -> None:
    """Temperatures that float32 cannot divide by take the likeliest token."""
    values = logits()
    for temperature in (1e-40, 1e-6, 1e-4):
        assert tokens(values, row(SamplingParams(temperature=temperature))) == [values.argmax()]


def test_repetition_penalty_covers_prompt_and_output() -> None:
    """Seen tokens: positive logits are divided, negative ones multiplied, once each."""
    values = torch.tensor([[4.0, 3.9, 2.5, -1.0, -1.1]])
    greedy = SamplingParams(repetition_penalty=1.5)
    assert tokens(values, row(greedy, prompt=[0, 0])) == [1]
    assert tokens(values, row(greedy, prompt=[0], output=[1, 1])) == [0]
    assert tokens(values, row(greedy, prompt=[0, 0], output=[1])) == [0]
    below = torch.tensor([[-1.0, -1.1]])
    assert tokens(below, row(greedy, prompt=[0])) == [1]


def test_presence_and_frequency_count_output_tokens_only() -> None:
    """The prompt does not count; frequency grows with each occurrence, presence does not."""
    values = torch.tensor([[3.0, 2.0, 1.0]])
    presence = SamplingParams(presence_penalty=1.5)
    assert tokens(values, row(presence, prompt=[0, 0])) == [0]
    assert tokens(values, row(presence, output=[0])) == [1]
    assert tokens(values, row(presence, output=[0, 0, 0])) == [1]
    frequency = SamplingParams(frequency_penalty=0.4)
    assert tokens(values, row(frequency, output=[0, 0])) == [0]
    assert tokens(values, row(frequency, output=[0, 0, 0])) == [1]
    assert tokens(values, row(frequency, output=[0] * 6 + [1] * 3)) == [2]


def test_logit_bias_moves_single_tokens() -> None:
    """A bias is added before all else; ids beyond the logits are left alone."""
    values = torch.tensor([[3.0, 2.0, 1.0]])
    assert tokens(values, row(SamplingParams(logit_bias={2: 5.0, 99: 1.0}))) == [2]
    assert tokens(values, row(SamplingParams(logit_bias={0: -100.0}))) == [1]


def test_min_tokens_forbids_every_end() -> None:
    """EOS and stop tokens cannot come before min_tokens, and can afterwards."""
    values = torch.tensor([[3.0, 2.0, 1.0]])
    params = SamplingParams(min_tokens=2, stop_token_ids=(1, 50))
    assert tokens(values, row(params, output=[2], eos_ids=frozenset([0]))) == [2]
    assert tokens(values, row(params, output=[2, 2], eos_ids=frozenset([0]))) == [0]


def test_grammar_masks_apply_per_row(byte_codec: TextCodec) -> None:
    """Rows under a grammar choose what it allows; their batch-mates choose freely."""
    compiler = GrammarCompiler(byte_codec)
    digits = compiler.compile(Grammar("regex", "[0-9]+"))
    word = compiler.compile(Grammar("regex", "x"))
    values = logits(4)
    rows = [
        row(SamplingParams(), matcher=digits),
        row(SamplingParams()),
        row(SamplingParams(temperature=1.5), matcher=word),
        row(SamplingParams(temperature=1.5, top_p=0.9), matcher=digits),
    ]
    chosen = tokens(values, *rows)
    assert byte_codec.decode([chosen[0]]).isdigit()
    assert chosen[1] == values[1].argmax()
    assert byte_codec.decode([chosen[2]]) == "x"
    assert byte_codec.decode([chosen[3]]).isdigit()


def test_the_grammar_wins_over_min_tokens(byte_codec: TextCodec) -> None:
    """Where only an end may come, it comes; where more may come, min_tokens forbids the end."""
    compiler = GrammarCompiler(byte_codec)
    (a,) = byte_codec.encode("a")
    (eos,) = byte_codec.eos_ids
    values = torch.zeros(1, byte_codec.vocabulary)
    values[0, eos] = 9.0
    for pattern, expected in (("a", eos), ("a+", a)):
        matcher = compiler.compile(Grammar("regex", pattern))
        matcher.accept(a)
        params = SamplingParams(min_tokens=3)
        under = row(params, output=[a], matcher=matcher, eos_ids=byte_codec.eos_ids)
        assert tokens(values, under) == [expected]


def test_logprobs_are_the_models_own() -> None:
    """Log-softmax of the raw logits, whatever the temperature, filters and penalties."""
    values = logits(3)
    params = SamplingParams(temperature=0.5, top_k=2, logprobs=4, logit_bias={5: 9.0})
    rows = [row(params), row(SamplingParams()), row(SamplingParams(logprobs=0))]
    drawn, unscored, bare = Sampler().sample(values, rows)
    expected = values.log_softmax(-1)
    assert drawn.logprob == pytest.approx(float(expected[0, drawn.token_id]), abs=1e-5)
    assert [id_ for id_, _ in drawn.top] == expected[0].topk(4).indices.tolist()
    assert [p for _, p in drawn.top] == pytest.approx(expected[0].topk(4).values.tolist(), abs=1e-5)
    assert math.isnan(unscored.logprob)
    assert bare.logprob == pytest.approx(float(expected[2].max()), abs=1e-5)
    assert bare.top == ()


def test_prompt_logprobs_score_the_targets() -> None:
    """One score per target, with the likeliest tokens beside it."""
    values = logits(5)
    targets = [3, 1, 4, 1, 5]
    scores = prompt_logprobs(values, targets, 2)
    expected = values.log_softmax(-1)
    for index, (score, target) in enumerate(zip(scores, targets, strict=True)):
        assert score.token_id == target
        assert score.logprob == pytest.approx(float(expected[index, target]), abs=1e-5)
        assert len(score.top) == 2
    assert prompt_logprobs(values[:0], [], 2) == []


def test_broken_logits_end_in_some_token() -> None:
    """Rows of NaN or of nothing allowed do not crash the batch they are in."""
    values = logits(3)
    values[0] = math.nan
    values[1] = -math.inf
    drawn = SamplingParams(temperature=1.0, top_p=0.5, top_k=3)
    chosen = tokens(values, row(drawn), row(drawn), row(SamplingParams()))
    assert all(0 <= token < VOCABULARY for token in chosen)
    assert chosen[2] == values[2].argmax()


def test_the_position_keys_the_draw() -> None:
    """By default it is the number of output tokens, so resuming repeats no draw."""
    values = torch.zeros(1, VOCABULARY)
    params = SamplingParams(temperature=1.0, seed=3)
    by_length = [tokens(values, row(params, output=[1] * i))[0] for i in range(20)]
    by_position = [tokens(values, row(params, position=i))[0] for i in range(20)]
    assert by_length == by_position
    assert len(set(by_length)) > 15
