"""Whole models with compressed weights and KV pages, through the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lingos_kernel.engine.compression import compress, load_compressed
from lingos_kernel.engine.floor import step_bytes
from lingos_kernel.engine.int4_linear import Int4Linear, PackedInt4Linear
from lingos_kernel.engine.int8_linear import DigitsInt8Linear, Int8Linear
from lingos_kernel.engine.messages import Shutdown
from lingos_kernel.engine.weight_sizes import stored_bytes, weight_bytes
from lingos_kernel.models.loader import load_causal

ARCHITECTURES = ["llama", "qwen2", "gemma3", "gpt2", "phi3", "moe"]
PROMPT = [(7 * index + 3) % 89 + 3 for index in range(40)]
CPU = torch.device("cpu")
PAIRS = [("int8", "native"), ("int8", "int8"), ("int4", "native"), ("int4", "int8")]


def scores(engine: Any) -> list[float]:
    """Log-probabilities of the prompt's tokens."""
    engine.generate("scores", PROMPT, max_tokens=0, prompt_logprobs=0)
    engine.run()
    return [score.logprob for score in engine.last("scores").prompt_logprobs]


def mean_difference(one: list[float], other: list[float]) -> float:
    """Of log-probabilities, in nats."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("weights", "kv", "nats"),
    [
        ("int8", "native", 0.15),
        ("native", "int8", 0.15),
        ("int8", "int8", 0.2),
        ("int4", "int8", 2),
    ],
)
def test_scores_stay_near(
    architecture: str,
    weights: str,
    kv: str,
    nats: float,
    tiny_model: Callable[[str], Path],
    drive: Callable[..., Any],
) -> None:
    """Tokens get nearly the scores that the native format gives, in fewer bytes."""
    native = drive(tiny_model(architecture))
    engine = drive(tiny_model(architecture), weights=weights, kv=kv)
    assert mean_difference(scores(engine), scores(native)) < nats
    info, plain = engine.core.models["m"].info, native.core.models["m"].info
    assert (info.weight_format, info.kv_format) == (weights, kv)
    assert info.parameters == plain.parameters
    assert (info.weight_bytes < plain.weight_bytes) == (weights != "native")
    assert (info.page_bytes < plain.page_bytes) == (kv != "native")


@pytest.mark.parametrize(("weights", "kv"), PAIRS)
def test_preempted_with_its_pages_kept_says_the_same(
    weights: str, kv: str, tiny_llama: Path, drive: Callable[..., Any]
) -> None:
    """A sequence that gave up its place again and again has the same tokens and scores, exactly."""
    params: dict[str, Any] = {"max_tokens": 24, "temperature": 1.0, "seed": 5, "logprobs": 0}
    engine = drive(tiny_llama, weights=weights, kv=kv)
    engine.generate("warm", PROMPT, max_tokens=1)  # both others find the same pages
    engine.run()
    for name in ("calm", "kept"):
        engine.generate(name, PROMPT, ignore_eos=True, **params)
        while engine.core.has_work:
            engine.step(5)
            if name == "kept":
                engine.core.preempt(name, "slots")
        engine.run()
    assert engine.last("kept").usage.preemptions > 1
    assert engine.tokens("kept") == engine.tokens("calm")
    calm, kept = ([o.logprobs for o in engine.outputs[name, 0]] for name in ("calm", "kept"))
    assert kept == calm


@pytest.mark.parametrize(("weights", "kv"), PAIRS)
def test_computed_anew_scores_are_the_same(
    weights: str, kv: str, tiny_llama: Path, drive: Callable[..., Any]
) -> None:
    """In chunks, from a cached beginning, and after a loss of pages: exactly."""
    whole = scores(drive(tiny_llama, weights=weights, kv=kv))
    engine = drive(tiny_llama, weights=weights, kv=kv, max_batch_tokens=8, max_running=4)
    engine.generate("warm", PROMPT[:20], max_tokens=1)
    engine.run()
    engine.generate("scores", PROMPT, max_tokens=0, prompt_logprobs=0)
    engine.step(3)
    engine.core.preempt("scores")
    engine.run()
    found = [score.logprob for score in engine.last("scores").prompt_logprobs]
    if engine.core.models["m"].info.batch_invariant:
        assert found == whole
    assert mean_difference(found, whole) < 0.05


def test_choices_fork_pages_in_eight_bits(tiny_llama: Path, drive: Callable[..., Any]) -> None:
    """Choices share the prompt's pages and copy the tail; each says what it says alone."""
    params: dict[str, Any] = {"n": 3, "max_tokens": 8, "seed": 1, "temperature": 1.0}
    engine = drive(tiny_llama, kv="int8")
    engine.generate("r", PROMPT, **params)
    engine.step(2)
    assert engine.core.models["m"].decoder.roster.ledger.used_pages == 2 + 3
    engine.run()
    narrow = drive(tiny_llama, kv="int8", max_running=1)
    narrow.generate("r", PROMPT, **params)
    narrow.run()
    for choice in range(3):
        assert engine.tokens("r", choice) == narrow.tokens("r", choice)


def test_pages_of_another_format_are_never_found(
    tiny_llama: Path, tmp_path: Path, drive: Callable[..., Any]
) -> None:
    """Engines over one folder find on the disk what their own formats left there, nothing else."""
    settings = {"disk_kv_dir": str(tmp_path / "kv"), "disk_kv_bytes": 1 << 26}

    def cached_tokens(weights: str, kv: str) -> int:
        engine = drive(tiny_llama, weights=weights, kv=kv, **settings)
        engine.generate("r", PROMPT, max_tokens=1)
        engine.run()
        engine.send(Shutdown())
        cached: int = engine.last("r").usage.cached_tokens
        return cached

    formats = [("native", "native"), ("native", "int8"), *PAIRS]
    assert [cached_tokens(*names) for names in formats] == [0] * len(formats)
    assert [cached_tokens(*names) for names in formats] == [32] * len(formats)


def test_more_pages_fit_into_the_same_bytes(tiny_llama: Path, drive: Callable[..., Any]) -> None:
    """Heads of 16 in float32: 128 bytes become 40."""
    pages = {kv: drive(tiny_llama, kv=kv, kv_bytes=1 << 20).core.models["m"].info.pages
             for kv in ("native", "int8")}  # fmt: skip
    assert pages["int8"] >= 3 * pages["native"]


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_no_float_copy_stays(weights: Any, tiny_llama: Path) -> None:
    """Of all matrices none is left in float, and the floor counts what is read."""
    model, parameters = load_compressed(tiny_llama, weights, device=CPU, dtype=torch.float32)
    assert not [name for name, tensor in model.named_parameters() if tensor.ndim > 1]
    assert parameters > sum(tensor.numel() for tensor in model.parameters())
    table = sum(size for name, size in stored_bytes(model).values() if "embed_tokens" in name)
    assert step_bytes(model) == weight_bytes(model) - table


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_runs_where_there_is_no_kernel_of_its_own(
    weights: Any, dtype: torch.dtype, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The portable classes, as on a GPU, give what the kernels of this CPU give."""
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        model, _ = load_compressed(tiny_llama, weights, device=CPU, dtype=dtype)
        here = model(ids).logits.float()
        for kind in (DigitsInt8Linear, PackedInt4Linear):
            monkeypatch.setattr(kind, "runs_on", staticmethod(lambda device: False))
        model, _ = load_compressed(tiny_llama, weights, device=CPU, dtype=dtype)
        assert any(isinstance(m, Int8Linear | Int4Linear) for m in model.modules())
        elsewhere = model(ids).logits.float()
    assert (here - elsewhere).norm() / elsewhere.norm() < 0.05


def test_an_encoder_stays_native(
    tiny_model: Callable[[str], Path], drive: Callable[..., Any]
) -> None:
    """Its vectors were not measured in fewer bits."""
    engine = drive(tiny_model("bert"), kind="encoder", weights="int8", kv="int8")
    info = engine.core.models["m"].info
    assert (info.weight_format, info.kv_format) == ("native", "native")


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_odd_shapes_are_held_too(weights: Any) -> None:
    """Where no group of four bits fits, eight are taken."""
    import transformers as tf

    config = tf.LlamaConfig(
        vocab_size=91, hidden_size=24, intermediate_size=41, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(2)
    model = tf.LlamaForCausalLM(config).requires_grad_(False)
    ids = torch.tensor([[5, 90, 7]])
    expected = model(ids).logits
    compress(model, weights, device=CPU, dtype=torch.float32)
    assert not [name for name, tensor in model.named_parameters() if tensor.ndim > 1]
    found = model(ids).logits
    assert (found - expected).norm() / expected.norm() < 0.05


def test_the_disk_type_can_be_kept(tiny_llama: Path) -> None:
    """Without a dtype, weights come as they are stored."""
    assert load_causal(tiny_llama, device=CPU, dtype=None).dtype == torch.float32
