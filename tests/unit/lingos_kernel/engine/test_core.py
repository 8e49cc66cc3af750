"""The engine's core: commands in, events out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import (
    Cancel,
    Embed,
    Embedded,
    EngineStats,
    Fork,
    Generate,
    Grammar,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    ModelUnloaded,
    Pause,
    Resume,
    SamplingParams,
    SetPolicy,
    SetPriority,
    UnloadModel,
)
from lingos_kernel.errors import (
    ConfigError,
    CorruptModel,
    EmptyPrompt,
    InvalidArguments,
    InvalidGrammar,
    ModelInUse,
    OutOfMemory,
    PromptTooLong,
    UnknownModel,
    UnknownName,
)

Drive = Callable[..., Any]
PROMPT = list(range(20, 60))
RANDOM = {"temperature": 1.0, "ignore_eos": True}


@pytest.fixture
def engine(tiny_llama: Path, drive: Drive) -> Any:
    """A core with the tiny Llama."""
    return drive(tiny_llama)


def pages_for_tests(tiny_llama: Path, drive: Drive, pages: int, **settings: Any) -> Any:
    """A core whose pool has this many pages."""
    page_bytes = drive(tiny_llama).core.models["m"].info.page_bytes
    return drive(tiny_llama, kv_bytes=pages * page_bytes, **settings)


# Answers


def test_a_request_streams_tokens_and_ends_with_its_usage(engine: Any) -> None:
    """One output a step, text that joins to the whole, and what it cost at the end."""
    engine.generate("r", PROMPT, max_tokens=8, ignore_eos=True)
    engine.run()
    assert len(engine.tokens("r")) == 8
    last = engine.last("r")
    assert last.finish_reason == "length"
    assert (last.usage.prompt_tokens, last.usage.output_tokens) == (40, 8)
    assert 0 <= last.usage.queue_s <= last.usage.first_token_s <= last.usage.total_s


def test_several_models_take_turns(tiny_model: Any, engine: Any) -> None:
    """Two models with work alternate, step by step."""
    engine.send(LoadModel(ModelSpec(name="other", path=str(tiny_model("gpt2")))))
    engine.generate("a", PROMPT, max_tokens=4, ignore_eos=True)
    engine.send(Generate("b", "other", (5, 6), SamplingParams(max_tokens=4, ignore_eos=True)))
    engine.step(4)
    assert len(engine.tokens("a")) == len(engine.tokens("b")) == 2


def test_seeded_sampling_does_not_depend_on_batch_mates(engine: Any) -> None:
    """The same request with the same seed says the same, alone or among others."""
    engine.generate("alone", PROMPT, max_tokens=12, seed=5, **RANDOM)
    engine.run()
    for index in range(4):
        engine.generate(f"mate-{index}", PROMPT[index:], max_tokens=9, seed=index, **RANDOM)
        engine.step()
    engine.generate("among", PROMPT, max_tokens=12, seed=5, top_p=1.0, **RANDOM)
    engine.run()
    assert engine.tokens("among") == engine.tokens("alone")
    assert engine.tokens("mate-0") != engine.tokens("alone")[:9]


def test_choices_share_the_prompt_and_differ(tiny_llama: Path, drive: Drive) -> None:
    """n choices compute the prompt once; each equals the same choice of a preempted run."""
    engine = drive(tiny_llama)
    engine.generate("r", PROMPT, n=3, max_tokens=6, seed=1, **RANDOM)
    engine.step()
    assert engine.core.models["m"].decoder.last_work.prompt_tokens == len(PROMPT)
    ledger = engine.core.models["m"].decoder.roster.ledger
    assert ledger.used_pages == 3  # two full ones shared by all, one tail shared until written
    engine.step()
    assert ledger.used_pages == 2 + 3
    engine.run()
    said = [engine.tokens("r", choice) for choice in range(3)]
    assert len({tuple(tokens) for tokens in said}) == 3
    narrow = drive(tiny_llama, max_running=1)
    narrow.generate("r", PROMPT, n=3, max_tokens=6, seed=1, **RANDOM)
    narrow.run()
    assert [narrow.tokens("r", choice) for choice in range(3)] == said


def test_logprobs_of_output_and_prompt(engine: Any) -> None:
    """Asked-for log-probabilities come with each token, those of the prompt once."""
    engine.generate(
        "r", PROMPT, max_tokens=3, logprobs=2, prompt_logprobs=1, prompt_logprobs_from=10, n=2
    )
    engine.run()
    outputs = engine.outputs["r", 0]
    assert [len(output.logprobs) for output in outputs] == [1] * len(outputs)
    scores = [score for output in outputs for score in output.prompt_logprobs]
    assert [score.token_id for score in scores] == PROMPT[10:]
    assert all(len(score.top) == 1 and score.top[0][1] >= score.logprob - 1e-6 for score in scores)
    assert not any(output.prompt_logprobs for output in engine.outputs["r", 1])


def test_prompt_scores_do_not_depend_on_chunks_cache_or_preemption(
    tiny_llama: Path, drive: Drive
) -> None:
    """A cached beginning, small chunks and a preemption give the scores of one whole pass."""
    whole = drive(tiny_llama)
    whole.generate("r", PROMPT, max_tokens=0, prompt_logprobs=0)
    whole.run()
    engine = drive(tiny_llama, max_batch_tokens=8, max_running=4)
    engine.generate("warm", PROMPT, max_tokens=1)
    engine.run()
    engine.generate("r", PROMPT, max_tokens=0, prompt_logprobs=0)
    engine.step(3)
    engine.core.preempt("r")
    engine.run()
    expected = whole.last("r").prompt_logprobs
    scores = engine.last("r").prompt_logprobs
    assert [score.token_id for score in scores] == PROMPT[1:]
    assert [score.logprob for score in scores] == pytest.approx(
        [s.logprob for s in expected], abs=1e-4
    )
    assert engine.last("r").finish_reason == "length"
    assert engine.last("r").usage.output_tokens == 0


def test_scoring_the_end_takes_the_beginning_from_the_cache(engine: Any) -> None:
    """With prompt_logprobs_from, pages before that position are shared."""
    engine.generate("warm", PROMPT, max_tokens=0)
    engine.run()
    engine.generate("r", PROMPT, max_tokens=0, prompt_logprobs=0, prompt_logprobs_from=35)
    engine.run()
    assert engine.last("r").usage.cached_tokens == 32
    assert [s.token_id for s in engine.last("r").prompt_logprobs] == PROMPT[35:]


def test_a_grammar_binds_the_output(engine: Any) -> None:
    """A random model that must write JSON writes JSON."""
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}
    schema["additionalProperties"] = False
    engine.generate(
        "r", PROMPT, max_tokens=60, temperature=1.0, grammar=Grammar("json", json.dumps(schema))
    )
    engine.run()
    assert json.loads(engine.text("r"))["a"] in (1, 2)
    assert engine.last("r").finish_reason == "stop"


def test_a_stop_string_ends_the_text_before_it(engine: Any) -> None:
    """Text stops where the stop string begins."""
    engine.generate("free", PROMPT, max_tokens=20, ignore_eos=True)
    engine.run()
    whole = engine.text("free")
    stop = whole[6:9]
    engine.generate("r", PROMPT, max_tokens=20, ignore_eos=True, stop=(stop,))
    engine.run()
    assert engine.text("r") == whole[: whole.index(stop)]
    assert engine.last("r").finish_reason == "stop"


# Prefix cache


def test_a_prompt_that_was_computed_is_not_computed_again(engine: Any) -> None:
    """Full pages come from the cache, the last token never does; tenants do not share."""
    engine.generate("first", PROMPT, max_tokens=1)
    engine.run()
    engine.generate("second", PROMPT, max_tokens=1)
    engine.run()
    assert engine.last("second").usage.cached_tokens == 32
    assert engine.tokens("second") == engine.tokens("first")
    engine.generate("page", PROMPT[:32], max_tokens=1)
    engine.run()
    assert engine.last("page").usage.cached_tokens == 16
    engine.send(Generate("alien", "m", tuple(PROMPT), SamplingParams(max_tokens=1), tenant="x"))
    engine.run()
    assert engine.last("alien").usage.cached_tokens == 0


def test_requests_share_a_prompt_that_is_still_being_computed(
    tiny_llama: Path, drive: Drive
) -> None:
    """Prompt pages can be shared as soon as they are computed."""
    engine = drive(tiny_llama, max_batch_tokens=16, max_running=8)
    engine.generate("first", PROMPT, max_tokens=1)
    engine.step(2)
    engine.generate("second", PROMPT, max_tokens=1)
    engine.run()
    assert engine.last("second").usage.cached_tokens == 32


# Steering


def test_cancel_frees_the_pages_at_once_and_says_nothing_more(engine: Any) -> None:
    """After a cancel no output follows, and only cached pages remain."""
    engine.generate("r", PROMPT, max_tokens=50, n=2, ignore_eos=True)
    engine.step(3)
    said = len(engine.tokens("r"))
    engine.send(Cancel("r"))
    assert engine.core.models["m"].decoder.roster.ledger.used_pages == 0
    assert not engine.core.has_work
    engine.run()
    assert len(engine.tokens("r")) == said


def test_a_paused_request_goes_on_as_if_nothing_was(engine: Any) -> None:
    """Paused, it computes nothing and keeps its pages; resumed, it says the same."""
    engine.generate("plain", PROMPT, max_tokens=10, seed=2, **RANDOM)
    engine.run()
    engine.generate("r", PROMPT, max_tokens=10, seed=2, **RANDOM)
    engine.step(4)
    engine.send(Pause("r"))
    assert not engine.core.has_work
    assert engine.core.models["m"].decoder.roster.ledger.used_pages > 0
    engine.send(Resume("r"))
    engine.run()
    assert engine.tokens("r") == engine.tokens("plain")


def test_the_pages_of_the_paused_go_to_those_who_need_them(tiny_llama: Path, drive: Drive) -> None:
    """A full pool takes a paused request's pages; it still says the same later."""
    engine = pages_for_tests(tiny_llama, drive, 6)
    engine.generate("plain", PROMPT, max_tokens=10, seed=2, **RANDOM)
    engine.run()
    engine.generate("held", PROMPT, max_tokens=10, seed=2, **RANDOM)
    engine.step(3)
    engine.send(Pause("held"))
    engine.generate("big", list(range(100, 170)), max_tokens=4, ignore_eos=True)
    engine.run()
    assert len(engine.tokens("big")) == 4
    engine.send(Resume("held"))
    engine.run()
    assert engine.tokens("held") == engine.tokens("plain")
    assert engine.last("held").usage.preemptions == 1


def test_urgent_work_takes_the_place_of_lazy_work(tiny_llama: Path, drive: Drive) -> None:
    """With one place, a more urgent request runs at once; the other goes on after it."""
    engine = drive(tiny_llama, max_running=1)
    engine.generate("plain", PROMPT, max_tokens=10, ignore_eos=True)
    engine.run()
    engine.generate("lazy", PROMPT, max_tokens=10, ignore_eos=True)
    engine.step(3)
    engine.send(Generate("urgent", "m", (9, 9), SamplingParams(max_tokens=2), priority=-5))
    engine.step(2)
    assert engine.tokens("urgent")
    engine.run()
    assert engine.tokens("lazy") == engine.tokens("plain")
    assert engine.last("lazy").usage.preemptions == 1


def test_renicing_moves_a_request_in_the_queue(tiny_llama: Path, drive: Drive) -> None:
    """The last in the queue, made urgent, is the next."""
    engine = drive(tiny_llama, max_running=1)
    for name in ("a", "b", "c"):
        engine.generate(name, PROMPT, max_tokens=2, ignore_eos=True)
    engine.send(SetPriority("c", -1))
    engine.step(2)
    assert engine.tokens("c")
    assert not engine.tokens("a")


def test_a_fork_goes_on_from_the_middle(engine: Any) -> None:
    """A branch says what its parent goes on to say; with other parameters, something else."""
    engine.generate("r", PROMPT, max_tokens=12, seed=4, **RANDOM)
    engine.step(5)
    engine.send(Fork("r", "same"))
    engine.send(Fork("r", "other", SamplingParams(max_tokens=12, seed=99, **RANDOM)))
    assert [output.token_ids for output in engine.outputs["same", 0]] == [()]
    engine.run()
    whole = engine.tokens("r")
    assert engine.tokens("same") == whole[5:]
    assert len(engine.tokens("other")) == 7
    assert engine.tokens("other") != whole[5:]
    assert engine.last("same").usage.output_tokens == 7


def test_a_branch_with_no_tokens_left_says_nothing(engine: Any) -> None:
    """What its parent has said counts for its own limit; it ends at once, beside others."""
    engine.generate("r", PROMPT, max_tokens=12, ignore_eos=True)
    engine.generate("other", PROMPT[::-1], max_tokens=12, ignore_eos=True)
    engine.step(5)
    engine.send(Fork("r", "branch", SamplingParams(max_tokens=3, ignore_eos=True)))
    assert engine.last("branch").finish_reason == "length"
    engine.run()
    assert engine.tokens("branch") == []
    assert len(engine.tokens("r")) == len(engine.tokens("other")) == 12


def test_a_branch_of_a_waiting_request_waits(tiny_llama: Path, drive: Drive) -> None:
    """A branch needs a place of its own; without one it says the same, later."""
    engine = drive(tiny_llama, max_running=1)
    engine.generate("r", PROMPT, max_tokens=8, ignore_eos=True)
    engine.step(3)
    engine.send(Fork("r", "branch"))
    engine.run()
    assert engine.tokens("branch") == engine.tokens("r")[3:]


# Resume after the engine died


@pytest.mark.parametrize("known", [1, 5, 11])
def test_a_request_goes_on_after_tokens_that_are_known(engine: Any, known: int) -> None:
    """Known tokens are not sent again; sampling, penalties and text go on where they stood."""
    params = SamplingParams(
        max_tokens=12, seed=8, n=2, frequency_penalty=0.5, repetition_penalty=1.2, **RANDOM
    )
    engine.send(Generate("whole", "m", tuple(PROMPT), params))
    engine.run()
    said = [engine.tokens("whole", choice) for choice in range(2)]
    outputs = (tuple(said[0][:known]), tuple(said[1][: known - 1]))
    engine.send(Generate("r", "m", tuple(PROMPT), params, output_ids=outputs))
    engine.run()
    assert engine.tokens("r", 0) == said[0][known:]
    assert engine.tokens("r", 1) == said[1][known - 1 :]
    assert engine.text("whole", 0).endswith(engine.text("r", 0))
    assert engine.last("r").usage.output_tokens == 12


def test_a_grammar_goes_on_after_known_tokens(engine: Any) -> None:
    """The matcher is replayed: the two halves join to a match."""
    grammar = Grammar("regex", "[a-f]{10}")
    engine.generate("whole", PROMPT, max_tokens=30, temperature=1.0, grammar=grammar)
    engine.run()
    said = engine.tokens("whole")
    params = SamplingParams(max_tokens=30, temperature=1.0, grammar=grammar)
    engine.send(Generate("r", "m", tuple(PROMPT), params, output_ids=(tuple(said[:4]),)))
    engine.run()
    assert engine.tokens("r") == said[4:]


def test_a_request_that_had_ended_ends_at_once(engine: Any) -> None:
    """All tokens are known: only the end is said."""
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    engine.send(Generate("r", "m", (5, 6), params, output_ids=((7, 8, 9),)))
    assert engine.last("r").finish_reason == "length"
    assert engine.tokens("r") == []
    assert not engine.core.has_work


# Bad requests


def test_a_prompt_longer_than_the_context_is_refused_with_the_sums(engine: Any) -> None:
    """The message has the prompt's length and the context's."""
    engine.generate("r", [5] * 600, max_tokens=1)
    assert isinstance(engine.errors["r"], PromptTooLong)
    assert "600" in engine.errors["r"].message
    assert "512" in engine.errors["r"].message


def test_output_is_clamped_to_the_context(engine: Any) -> None:
    """A prompt with little room left ends by length when the context is full."""
    engine.generate("r", [5, 6, 7, 8] * 127, max_tokens=100, ignore_eos=True)
    engine.run()
    assert len(engine.tokens("r")) == 512 - 508
    assert engine.last("r").finish_reason == "length"


def test_a_request_that_can_never_fit_is_refused_with_the_sums(
    tiny_llama: Path, drive: Drive
) -> None:
    """More pages than the pool has: said at once, not after waiting for ever."""
    engine = pages_for_tests(tiny_llama, drive, 4)
    engine.generate("r", PROMPT, max_tokens=100)
    assert isinstance(engine.errors["r"], OutOfMemory)
    assert "40 prompt + 100 output tokens need 9 pages" in engine.errors["r"].message
    engine.generate("fits", PROMPT, max_tokens=24, ignore_eos=True)
    engine.run()
    assert len(engine.tokens("fits")) == 24


def test_one_bad_request_fails_alone(engine: Any) -> None:
    """A grammar that cannot be read ends its request; the others go on."""
    engine.generate("good", PROMPT, max_tokens=5, ignore_eos=True)
    engine.step()
    engine.generate("bad", PROMPT, grammar=Grammar("regex", "("))
    engine.generate("empty", [])
    engine.generate("strange", [10**6])
    engine.send(Generate("lost", "nowhere", (1,)))
    engine.send(Fork("nobody", "branch"))
    engine.run()
    assert {name: type(error) for name, error in engine.errors.items()} == {
        "bad": InvalidGrammar,
        "empty": EmptyPrompt,
        "strange": InvalidArguments,
        "lost": UnknownModel,
        "branch": UnknownName,
    }
    assert len(engine.tokens("good")) == 5


# Models


def test_a_model_in_use_is_not_unloaded(engine: Any) -> None:
    """Unloading waits for the last request; then the model is gone."""
    engine.generate("r", PROMPT, max_tokens=3)
    engine.send(UnloadModel("m"))
    assert isinstance(engine.errors["model:m"], ModelInUse)
    engine.run()
    engine.send(UnloadModel("m"))
    assert any(isinstance(event, ModelUnloaded) for event in engine.events)
    engine.generate("late", PROMPT)
    assert isinstance(engine.errors["late"], UnknownModel)


def test_loading_twice_answers_twice(engine: Any, tiny_llama: Path) -> None:
    """The second load of a ready model costs nothing."""
    engine.send(LoadModel(ModelSpec(name="m", path=str(tiny_llama))))
    loaded = [event for event in engine.events if isinstance(event, ModelLoaded)]
    assert len(loaded) == 2
    assert loaded[0] == loaded[1]


def test_a_folder_without_a_model_is_a_clear_error(engine: Any, tmp_path: Path) -> None:
    """No config.json: corrupt, with what to do."""
    engine.send(LoadModel(ModelSpec(name="x", path=str(tmp_path))))
    assert isinstance(engine.errors["model:x"], CorruptModel)
    assert engine.errors["model:x"].hint


def test_a_truncated_weights_file_is_a_clear_error(
    engine: Any, tiny_model: Any, tmp_path: Path
) -> None:
    """Half a safetensors file: corrupt, naming the folder."""
    for file in tiny_model("qwen2").iterdir():
        (tmp_path / file.name).write_bytes(
            file.read_bytes()[: 1000 if "safe" in file.name else None]
        )
    engine.send(LoadModel(ModelSpec(name="x", path=str(tmp_path))))
    assert isinstance(engine.errors["model:x"], CorruptModel)


# Embeddings


@pytest.mark.parametrize(("architecture", "kind"), [("bert", "encoder"), ("llama", "causal")])
def test_embeds_with_encoders_and_causal_models(
    tiny_model: Any, drive: Drive, architecture: str, kind: str
) -> None:
    """One vector for each input, of length one; running sequences are not disturbed."""
    engine = drive(tiny_model(architecture), kind=kind)
    engine.send(Embed("e", "m", ((5, 6, 7), (8, 9))))
    engine.run()
    (embedded,) = [event for event in engine.events if isinstance(event, Embedded)]
    assert len(embedded.vectors) == 2
    assert sum(x * x for x in embedded.vectors[0]) == pytest.approx(1.0, abs=1e-5)
    assert embedded.prompt_tokens == 5


def test_embedding_between_steps_does_not_disturb_generation(engine: Any) -> None:
    """A causal model embeds while it decodes, and says what it would have said."""
    engine.generate("plain", PROMPT, max_tokens=8, ignore_eos=True)
    engine.run()
    engine.generate("r", PROMPT, max_tokens=8, ignore_eos=True)
    engine.step(3)
    engine.send(Embed("e", "m", (tuple(PROMPT), (3,))))
    engine.run()
    assert engine.tokens("r") == engine.tokens("plain")
    assert any(isinstance(event, Embedded) for event in engine.events)


# Statistics


def test_statistics_come_at_most_four_times_a_second_and_when_idle(engine: Any) -> None:
    """Two seconds of steps give about eight; the last one says that nothing is left."""
    engine.events.clear()
    engine.generate("r", PROMPT, max_tokens=100, ignore_eos=True)
    for _ in range(90):
        engine.now_s += 0.019
        engine.step()
    engine.run()
    stats = [event for event in engine.events if isinstance(event, EngineStats)]
    assert 7 <= len(stats) <= 10
    running, idle = stats[2], stats[-1]
    assert running.sequences[0].state == "decode"
    assert (
        running.sequences[0].kv_bytes == running.sequences[0].pages * running.models[0].page_bytes
    )
    assert running.output_tokens_per_s == pytest.approx(50, rel=0.1)
    assert idle.sequences == ()
    assert idle.output_tokens_total == 100
    assert idle.prompt_tokens_total == 40
    model = idle.models[0]
    assert model.pages_used + model.pages_cached + model.pages_free == model.pages_total


def test_statistics_show_the_queue(tiny_llama: Path, drive: Drive) -> None:
    """Waiting sequences have their place in the queue, paused and running ones none."""
    engine = drive(tiny_llama, max_running=1)
    for name in ("a", "b", "c", "d"):
        engine.generate(name, PROMPT, max_tokens=5, ignore_eos=True)
    engine.step()
    engine.send(Pause("d"))
    engine.now_s += 1.0
    engine.step()
    stats = [event for event in engine.events if isinstance(event, EngineStats)][-1]
    assert {s.request_id: (s.state, s.queue_position) for s in stats.sequences} == {
        "a": ("decode", None),
        "d": ("paused", None),
        "b": ("waiting", 0),
        "c": ("waiting", 1),
    }


def test_a_policy_that_cannot_be_imported_changes_nothing(engine: Any) -> None:
    """The engine goes on by the one it has, and says what is wrong."""
    engine.send(SetPolicy("fair"), SetPolicy("nowhere:Nothing"))
    assert isinstance(engine.errors[""], ConfigError)
    engine.generate("r", PROMPT, max_tokens=3)
    engine.run()
    stats = [event for event in engine.events if isinstance(event, EngineStats)]
    assert stats[-1].policy == "fair"
