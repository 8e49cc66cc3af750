"""What a model's folder says about its text: tokenizer, template, special tokens, limits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lingos_kernel.errors import CorruptModel, UnsupportedModel

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "seq_length",
)
_UNLIMITED = 10**9
"""Tokenizers write a huge model_max_length for "none"."""


@dataclass(frozen=True, slots=True)
class CodecFiles:
    """The facts that a `TextCodec` is made of."""

    tokenizer: Tokenizer
    templates: Mapping[str, str]
    """Chat templates by name; empty when the model has none."""
    special_tokens: Mapping[str, str]
    """bos_token, eos_token, ... and their text."""
    eos_ids: frozenset[int]
    context_tokens: int
    """0 when the files do not say."""
    embed_tokens: int
    """0 when the files do not say."""

    @classmethod
    def read(cls, path: Path) -> CodecFiles:
        """The facts in a folder; raises `UnsupportedModel`, `CorruptModel`."""
        tokenizer = _load_tokenizer(path)
        settings = _read_json(path / "tokenizer_config.json")
        special = _special_tokens({**_read_json(path / "special_tokens_map.json"), **settings})
        config = _text_config(_read_json(path / "config.json"))
        generation = _read_json(path / "generation_config.json")
        eos = {*_ids(generation.get("eos_token_id")), *_ids(config.get("eos_token_id"))}
        eos |= _ids(tokenizer.token_to_id(special.get("eos_token", "")))
        context_tokens = _context_tokens(config, settings)
        limits = (
            context_tokens,
            settings.get("model_max_length"),
            _read_json(path / "sentence_bert_config.json").get("max_seq_length"),
        )
        return cls(
            tokenizer=tokenizer,
            templates=_templates(path, settings),
            special_tokens=special,
            eos_ids=frozenset(eos),
            context_tokens=context_tokens,
            embed_tokens=min((limit for limit in map(_limit, limits) if limit), default=0),
        )


def _load_tokenizer(path: Path) -> Tokenizer:
    file = path / "tokenizer.json"
    if not file.is_file():
        raise UnsupportedModel(
            f"{path.name} has no tokenizer.json",
            hint="save its fast tokenizer (AutoTokenizer.from_pretrained(...).save_pretrained)",
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise CorruptModel(
            f"{file.name} of {path.name} cannot be read: {error}", hint="pull the model again"
        ) from error
    # Fixed padding and truncation belong to training setups; limits are checked elsewhere.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no such file."""
    if not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptModel(
            f"{file.name} of {file.parent.name} cannot be read: {error}",
            hint="pull the model again",
        ) from error
    return data if isinstance(data, dict) else {}


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that speaks of the language model."""
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, dict) else config


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """The named special tokens: each is a string, or an object with its content."""
    found = {}
    for key, value in settings.items():
        content = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(content, str):
            found[key] = content
    return found


def _ids(value: Any) -> set[int]:
    """Token ids of a setting that may be one, a list, or nothing."""
    values = value if isinstance(value, list) else [value]
    return {id_ for id_ in values if isinstance(id_, int)}


def _context_tokens(config: Mapping[str, Any], settings: Mapping[str, Any]) -> int:
    stated = [config.get(key) for key in _CONTEXT_KEYS]
    limits = [*stated, settings.get("model_max_length")]
    return next((limit for limit in map(_limit, limits) if limit), 0)


def _limit(value: Any) -> int:
    """The number of tokens that a setting allows; 0 for none, and a huge one means none."""
    return int(value) if isinstance(value, (int, float)) and 0 < value < _UNLIMITED else 0


def _templates(path: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name; a file of its own wins over tokenizer_config.json."""
    sources: dict[str, str] = {}
    given = settings.get("chat_template")
    if isinstance(given, str):
        sources["default"] = given
    elif isinstance(given, list):
        sources |= {entry["name"]: entry["template"] for entry in given}
    legacy = _read_json(path / "chat_template.json").get("chat_template")
    if isinstance(legacy, str):
        sources["default"] = legacy
    files = {"default": path / "chat_template.jinja"}
    files |= {file.stem: file for file in (path / "additional_chat_templates").glob("*.jinja")}
    sources |= {name: file.read_text("utf-8") for name, file in files.items() if file.is_file()}
    return sources
