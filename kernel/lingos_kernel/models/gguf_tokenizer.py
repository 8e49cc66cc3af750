"""The tokenizer inside a GGUF file, written as tokenizer.json and its companions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import CorruptModel, UnsupportedModel
from lingos_kernel.models.files import write_bytes, write_json
from lingos_kernel.models.layout import FileFact

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTROL, USER_DEFINED = 3, 4
_SPACE = "\u2581"
_END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "<|eom_id|>",
    "<|end_of_text|>",
)
"""Tokens that end a reply in a chat template, besides the one the file calls end of sequence."""

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "falcon3": _LLAMA3,
    "dbrx": _LLAMA3,
    "smaug-bpe": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
    "gpt-4o": _GPT4O,
}
"""How text is split before merging, by the name that llama.cpp gives the split."""
_SPLIT_BY_GPT2 = frozenset({"gpt-2", "default", "phi-2", "olmo", "mpt", "jina-v2-code"})
_SPLIT_DIGITS_AND_GPT2 = frozenset({"smollm", "starcoder", "refact", "command-r", "codeshell"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokenizer keys of a GGUF file's metadata."""

    metadata: Mapping[str, Any]

    def get(self, key: str, default: Any = None) -> Any:
        """A value of `tokenizer.ggml.KEY`, or the default."""
        return self.metadata.get(f"tokenizer.ggml.{key}", default)

    @property
    def tokens(self) -> list[str]:
        """The text of each token; raises CorruptModel if there are none."""
        tokens = self.get("tokens")
        if not isinstance(tokens, list) or not tokens:
            raise CorruptModel("the GGUF file has no tokenizer", hint="get another file")
        return tokens

    def of_type(self, token_type: int) -> list[str]:
        """The tokens that the file marks so."""
        return [
            token
            for token, kind in zip(self.tokens, self.get("token_type", ()), strict=False)
            if kind == token_type
        ]

    def token(self, role: str) -> str | None:
        """The text of the token of a role (bos, eos, unknown, padding)."""
        token_id = self.get(f"{role}_token_id")
        tokens = self.tokens
        return tokens[token_id] if token_id is not None and token_id < len(tokens) else None

    @property
    def adds_bos(self) -> bool:
        """Whether text starts with the beginning-of-sequence token."""
        is_default = self.get("model") == "llama" or self.get("pre") in {"llama-bpe", "llama3"}
        return bool(self.get("add_bos_token", is_default)) and self.token("bos") is not None

    @property
    def chat_template(self) -> str:
        """The chat template, or nothing."""
        return str(self.metadata.get("tokenizer.chat_template") or "")

    def end_ids(self) -> list[int]:
        """The tokens after which generation ends: the file's, and those the template ends on."""
        stated = [self.get(f"{role}_token_id") for role in ("eos", "eot", "eom")]
        special = set(self.of_type(CONTROL)) | set(self.of_type(USER_DEFINED))
        ids = {token: token_id for token_id, token in enumerate(self.tokens) if token in special}
        template = self.chat_template
        ending = [ids[token] for token in _END_OF_TURN if token in ids and token in template]
        return list(dict.fromkeys(i for i in [*stated, *ending] if i is not None))


def write_tokenizer(
    metadata: Mapping[str, Any], folder: Path, *, architecture: str, context_tokens: int
) -> list[FileFact]:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json.

    Raises UnsupportedModel for a kind of tokenizer that would be rebuilt wrongly.
    """
    vocabulary = Vocabulary(metadata)
    tokenizer = build_tokenizer(vocabulary, architecture)
    return [
        write_bytes(folder, "tokenizer.json", tokenizer.to_str(pretty=False).encode()),
        write_json(folder, "tokenizer_config.json", _config(vocabulary, context_tokens)),
        write_json(folder, "generation_config.json", _generation(vocabulary)),
    ]


def special_ids(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The token ids that config.json states."""
    vocabulary = Vocabulary(metadata)
    ends = vocabulary.end_ids()
    return {
        "bos_token_id": vocabulary.get("bos_token_id"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": vocabulary.get("padding_token_id"),
    }


def build_tokenizer(vocabulary: Vocabulary, architecture: str) -> Tokenizer:
    """The tokenizer that the file describes."""
    kind = str(vocabulary.get("model", ""))
    if kind == "gpt2":
        tokenizer = _byte_level(vocabulary)
    elif kind == "llama":
        tokenizer = _sentencepiece(vocabulary, is_gemma=architecture.startswith("gemma"))
    else:
        raise _unsupported(f"tokenizer {kind or '(none)'}")
    _add_special_tokens(tokenizer, vocabulary)
    if vocabulary.adds_bos:
        _prepend_bos(tokenizer, vocabulary)
    return tokenizer


def _byte_level(vocabulary: Vocabulary) -> Tokenizer:
    """Byte-pair encoding over bytes, as GPT-2's."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    merges = [tuple(merge.split(" ", 1)) for merge in vocabulary.get("merges", ())]
    ids = {token: token_id for token_id, token in enumerate(vocabulary.tokens)}
    split = str(vocabulary.get("pre", "default"))
    # Llama 3 looks words up whole before it merges.
    tokenizer = Tokenizer(
        models.BPE(vocab=ids, merges=merges, ignore_merges=_SPLITS.get(split) is _LLAMA3)
    )
    space = bool(vocabulary.get("add_space_prefix", False))
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=True)
    if split in _SPLITS:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_SPLITS[split]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False),
            ]
        )
    elif split in _SPLIT_DIGITS_AND_GPT2:
        digits = pre_tokenizers.Digits(individual_digits=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, gpt2])
    elif split in _SPLIT_BY_GPT2:
        tokenizer.pre_tokenizer = gpt2
    else:
        raise _unsupported(f"text split {split}")
    if split == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(vocabulary: Vocabulary, *, is_gemma: bool) -> Tokenizer:
    """SentencePiece's byte-pair encoding with byte fallback, as Llama 2's and Gemma's."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    tokens = vocabulary.tokens
    scores: Sequence[float] = vocabulary.get("scores", ())
    if is_gemma:
        # Runs of spaces are stored as they look, and the order of the file is that of the merges.
        tokens = [_SPACE * len(t) if " " in t and not t.strip(" ") else t for t in tokens]
        scores = range(0, -len(tokens), -1)
    ids = {token: token_id for token_id, token in enumerate(tokens)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=ids,
            merges=_merges(ids, scores),
            unk_token=vocabulary.token("unknown"),
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    has_prefix = not is_gemma and bool(vocabulary.get("add_space_prefix", True))
    spaces = normalizers.Replace(" ", _SPACE)
    prefix = [normalizers.Prepend(_SPACE)] if has_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, spaces])
    strip = [decoders.Strip(" ", 1, 0)] if has_prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _merges(ids: Mapping[str, int], scores: Sequence[float]) -> list[tuple[str, str]]:
    """The pairs that make each token, the best-scored token's first."""
    if len(scores) < len(ids):
        raise CorruptModel("the GGUF tokenizer has no scores", hint="get another file")
    found: list[tuple[float, int, int, str, str]] = []
    for token, token_id in ids.items():
        pairs = [(token[:i], token[i:]) for i in range(1, len(token))]
        known = [(left, right) for left, right in pairs if left in ids and right in ids]
        known.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        found += [(scores[token_id], len(left), len(right), left, right) for left, right in known]
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return [(left, right) for *_, left, right in found]


def _add_special_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Keep control and user-defined tokens whole; only control tokens are left out of text."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    for kind, is_special in ((CONTROL, True), (USER_DEFINED, False)):
        tokens = [
            AddedToken(token, normalized=False, special=is_special)
            for token in vocabulary.of_type(kind)
            if token in known
        ]
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(tokens)


def _prepend_bos(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    from tokenizers import processors

    bos = vocabulary.token("bos")
    template = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, vocabulary.get("bos_token_id"))],
    )
    before = tokenizer.post_processor
    tokenizer.post_processor = processors.Sequence([before, template]) if before else template


def _config(vocabulary: Vocabulary, context_tokens: int) -> dict[str, Any]:
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    tokens = {f"{name}_token": vocabulary.token(role) for name, role in roles.items()}
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_tokens,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": vocabulary.adds_bos,
        **{name: token for name, token in tokens.items() if token is not None},
    }
    if vocabulary.chat_template:
        config["chat_template"] = vocabulary.chat_template
    return config


def _generation(vocabulary: Vocabulary) -> dict[str, Any]:
    return {
        name: value for name, value in special_ids(vocabulary.metadata).items() if value is not None
    }


def _unsupported(what: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"the {what} of this GGUF file is not supported",
        hint="pull the original model instead: hf:ORG/NAME",
    )
