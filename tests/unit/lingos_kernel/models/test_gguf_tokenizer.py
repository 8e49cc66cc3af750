"""Tokenizers rebuilt from GGUF metadata split text as the libraries that made them do."""

from __future__ import annotations

import io
from typing import Any

import pytest

from lingos_kernel.errors import CorruptModel, UnsupportedModel
from lingos_kernel.models.gguf_tokenizer import Vocabulary, build_tokenizer, special_ids

CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "she sells sea shells by the sea shore",
    "how much wood would a woodchuck chuck if a woodchuck could chuck wood",
    "un bon vin blanc, naïve café, 東京 and the rest of the world's words",
] * 20
TEXTS = [
    "the quick fox",
    "  leading and   inner spaces ",
    "line\nbreaks\n\nand\ttabs",
    "naïve café 東京 🚀",
    "woodchucks' 1234 numbers: 3.14",
    "",
]


@pytest.fixture(scope="module")
def sentencepiece_model() -> Any:
    """A small byte-pair SentencePiece model with byte fallback, as Llama 2's."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=written,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


def metadata_of(model: Any, **changes: Any) -> dict[str, Any]:
    """The metadata that llama.cpp writes for a SentencePiece model."""
    ids = range(model.get_piece_size())
    types = [
        2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1
        for i in ids
    ]
    values = {
        "model": "llama",
        "tokens": [model.id_to_piece(i) for i in ids],
        "scores": [model.get_score(i) for i in ids],
        "token_type": types,
        "bos_token_id": model.bos_id(),
        "eos_token_id": model.eos_id(),
        "unknown_token_id": model.unk_id(),
        "add_bos_token": False,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (values | changes).items()}


@pytest.mark.parametrize("text", TEXTS)
def test_sentencepiece_is_rebuilt(sentencepiece_model: Any, text: str) -> None:
    """Token for token what SentencePiece itself says, and the text comes back."""
    tokenizer = build_tokenizer(Vocabulary(metadata_of(sentencepiece_model)), "llama")
    assert tokenizer.encode(text).ids == sentencepiece_model.encode(text)
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_bos_is_prepended_where_the_file_says_so(sentencepiece_model: Any) -> None:
    """A llama file without the flag starts text with the beginning-of-sequence token."""
    metadata = metadata_of(sentencepiece_model)
    del metadata["tokenizer.ggml.add_bos_token"]
    tokenizer = build_tokenizer(Vocabulary(metadata), "llama")
    bos = sentencepiece_model.bos_id()
    assert tokenizer.encode("the fox").ids == [bos, *sentencepiece_model.encode("the fox")]
    assert tokenizer.encode("the fox", add_special_tokens=False).ids[0] != bos


def gpt2_metadata(**changes: Any) -> dict[str, Any]:
    """A byte-level vocabulary of single bytes, digits merged in pairs, and chat tokens."""
    from tokenizers import pre_tokenizers

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "12", "34", "1234"]
    tokens += ["<|im_start|>", "<|im_end|>", "<think>", "<|endoftext|>"]
    values = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [1] * 259 + [3, 3, 4, 3],
        "merges": ["1 2", "3 4", "12 34"],
        "eos_token_id": tokens.index("<|endoftext|>"),
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (values | changes).items()}


@pytest.mark.parametrize(
    ("split", "pieces"),
    [
        ("gpt-2", ["1234"]),
        ("smollm", ["1", "2", "3", "4"]),
        ("qwen2", ["1", "2", "3", "4"]),
        ("llama-bpe", ["12", "3", "4"]),
    ],
)
def test_digits_are_split_as_the_file_says(split: str, pieces: list[str]) -> None:
    """GPT-2 keeps a number whole, SmolLM and Qwen cut it into digits, Llama 3 after three."""
    tokenizer = build_tokenizer(Vocabulary(gpt2_metadata(pre=split)), "llama")
    assert tokenizer.encode("1234", add_special_tokens=False).tokens == pieces


def test_control_tokens_are_special_and_user_defined_ones_are_text() -> None:
    """Both stay whole; only control tokens are left out when text is wanted."""
    tokenizer = build_tokenizer(Vocabulary(gpt2_metadata()), "qwen3")
    encoded = tokenizer.encode("<|im_start|><think>x")
    assert encoded.tokens == ["<|im_start|>", "<think>", "x"]
    assert tokenizer.decode(encoded.ids) == "<think>x"


def test_a_reply_ends_where_the_template_ends_a_turn() -> None:
    """A token that the chat template closes a turn with ends generation too."""
    template = "{{ '<|im_start|>' }}{{ message }}{{ '<|im_end|>' }}"
    metadata = gpt2_metadata() | {"tokenizer.chat_template": template}
    tokens = metadata["tokenizer.ggml.tokens"]
    expected = [tokens.index("<|endoftext|>"), tokens.index("<|im_end|>")]
    assert special_ids(metadata)["eos_token_id"] == expected
    assert special_ids(gpt2_metadata())["eos_token_id"] == expected[0]


def test_other_kinds_are_refused() -> None:
    """A kind of tokenizer that is not rebuilt is named."""
    with pytest.raises(UnsupportedModel, match="t5"):
        build_tokenizer(Vocabulary(gpt2_metadata(model="t5")), "llama")
    with pytest.raises(CorruptModel, match="no tokenizer"):
        build_tokenizer(Vocabulary({"tokenizer.ggml.model": "gpt2"}), "llama")
