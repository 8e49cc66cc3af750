"""Codecs over small tokenizers, made here so that the tests need no download."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers import models as token_models

from lingos_kernel.models.text_codec import TextCodec


@pytest.fixture(scope="session")
def byte_codec(tiny_llama: Path) -> TextCodec:
    """A byte-level codec (as of GPT-2, Llama 3, Qwen)."""
    return TextCodec.load(tiny_llama)


@pytest.fixture(scope="session")
def fallback_codec(tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    """A codec with byte tokens for what it has no entry for (as of Llama 2)."""
    entries = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    entries += [*"▁abcdehlorw.,é中", "▁a", "he", "▁he", "llo"]
    tokenizer = Tokenizer(
        token_models.BPE(
            vocab={entry: index for index, entry in enumerate(entries)},
            merges=[("▁", "a"), ("h", "e"), ("▁", "he")],
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in entries[:3]])
    return _saved(tokenizer, tmp_path_factory.mktemp("fallback"))


@pytest.fixture(scope="session")
def word_codec(tmp_path_factory: pytest.TempPathFactory) -> TextCodec:
    """A codec with a WordPiece decoder, which streams by decoding everything again."""
    entries = ["[UNK]", "hello", "world", "##ly", "##s", ",", ".", "n", "'", "t", "do", "not"]
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(token_models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return _saved(tokenizer, tmp_path_factory.mktemp("word"))


def _saved(tokenizer: Tokenizer, folder: Path) -> TextCodec:
    tokenizer.save(str(folder / "tokenizer.json"))
    return TextCodec.load(folder)


@pytest.fixture(scope="session", params=["byte_codec", "fallback_codec", "word_codec"])
def any_codec(request: pytest.FixtureRequest) -> TextCodec:
    """Each of the codecs in turn."""
    codec: TextCodec = request.getfixturevalue(request.param)
    return codec


@pytest.fixture(scope="session")
def real_codec(request: pytest.FixtureRequest) -> TextCodec:
    """The default model's codec; pulls the model."""
    return TextCodec.load(request.getfixturevalue("default_model").path)
