"""What a folder in the Hugging Face layout holds, read from its files alone (no torch)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lingos_kernel.errors import CorruptModel, UnsupportedModel
from lingos_kernel.models.files import read_safetensors_header
from lingos_kernel.models.layout import Kind

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
REQUIRED = ("config.json", "tokenizer.json")
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)
"""The files besides the weights that a model may need."""

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_CAUSAL = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_ENCODER = ("Model", "ForMaskedLM", "ForSequenceClassification", "ForPreTraining")
_DTYPE_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_LICENCE_LINE = re.compile(r"^license:\s*[\"']?([^\s\"']+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Description:
    """What the store remembers of a model's files."""

    kind: Kind
    architecture: str
    parameters: int
    context_tokens: int
    dtype: str


def describe(folder: Path) -> Description:
    """Read the facts; raises CorruptModel or UnsupportedModel if it cannot be a model."""
    config = _read_json(folder / "config.json")
    architecture = _architecture(config)
    parameters, dtype = _weigh(folder)
    return Description(
        kind=_kind(config, architecture),
        architecture=architecture,
        parameters=parameters,
        context_tokens=_context_tokens(config, folder),
        dtype=dtype,
    )


def choose_files(names: Iterable[str], *, origin: str, shards: Iterable[str] = ()) -> list[str]:
    """The files of a model to keep, out of all that a folder or repository has.

    `shards` are the weight files that the index names, where there is one. Raises UnsupportedModel
    when the weights are pickled, in another format, or a required file is missing.
    """
    there = set(names)
    weights = sorted(set(shards)) or _weight_files(there)
    if not weights:
        raise UnsupportedModel(f"{origin} has no safetensors weights", hint=_weights_hint(there))
    missing = [name for name in (*REQUIRED, *weights) if name not in there]
    if missing:
        raise UnsupportedModel(
            f"{origin} lacks {', '.join(missing)}", hint=_missing_hint(missing), missing=missing
        )
    index = [INDEX] if INDEX in there and weights != [WEIGHTS] else []
    return [name for name in COMPANIONS if name in there] + index + weights


def indexed_shards(index: Mapping[str, Any]) -> list[str]:
    """The weight files that a `model.safetensors.index.json` names; raises CorruptModel."""
    shards = {str(name) for name in dict(index.get("weight_map") or {}).values()}
    if not shards or any("/" in name or not name.endswith(".safetensors") for name in shards):
        raise CorruptModel(f"{INDEX} names no usable weight files", hint="get the model again")
    return sorted(shards)


def licence_of(readme: str) -> str:
    """The licence that a model card's front matter states, or nothing."""
    if not readme.startswith("---"):
        return ""
    found = _LICENCE_LINE.search(readme.split("\n---", 1)[0])
    return found.group(1) if found else ""


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises CorruptModel."""
    return _read_json(path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, FileNotFoundError) as error:
        raise CorruptModel(
            f"{path.name} cannot be read: {error}", hint="get the model again", path=str(path)
        ) from error
    if not isinstance(content, dict):
        raise CorruptModel(f"{path.name} is not a JSON object", hint="get the model again")
    return content


def _weight_files(there: set[str]) -> list[str]:
    if WEIGHTS in there:
        return [WEIGHTS]
    plain = [name for name in there if name.endswith(".safetensors") and "/" not in name]
    return plain if len(plain) == 1 else []


def _weights_hint(there: set[str]) -> str:
    if any(name.endswith(_PICKLED) for name in there):
        return (
            "its weights are pickled, which can run code when they are read; convert them with "
            "transformers' save_pretrained, or look for a safetensors version"
        )
    if gguf := sorted(name for name in there if name.endswith(".gguf")):
        return f"it has GGUF files; name one, as in SOURCE:{gguf[0]}"
    return "a model needs config.json, tokenizer.json and model.safetensors"


def _missing_hint(missing: list[str]) -> str:
    if "tokenizer.json" in missing:
        return (
            "write it once with transformers: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    return "get the complete model"


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    raise UnsupportedModel(
        f"config.json names no architecture (model_type {config.get('model_type')!r})",
        hint='add "architectures": ["...ForCausalLM"] to its config.json',
    )


def _kind(config: Mapping[str, Any], architecture: str) -> Kind:
    if config.get("is_encoder_decoder"):
        raise UnsupportedModel(
            f"{architecture} is an encoder-decoder model",
            hint="LingOS runs decoder models (...ForCausalLM) and encoders for embeddings",
        )
    if architecture.endswith(_CAUSAL):
        return "causal"
    if architecture.endswith(_ENCODER):
        return "encoder"
    raise UnsupportedModel(
        f"{architecture} is neither a causal language model nor an encoder",
        hint="LingOS runs decoder models (...ForCausalLM) and encoders for embeddings",
    )


def _weigh(folder: Path) -> tuple[int, str]:
    """Parameters, and the dtype that most of them have."""
    by_dtype: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for tensor in read_safetensors_header(path).values():
            dtype = tensor["dtype"]
            by_dtype[dtype] = by_dtype.get(dtype, 0) + prod(tensor["shape"])
    if not by_dtype:
        raise CorruptModel("the weight files hold no tensors", hint="get the model again")
    main = max(by_dtype, key=lambda dtype: by_dtype[dtype])
    return sum(by_dtype.values()), _DTYPE_NAMES.get(main, main.lower())


def _context_tokens(config: Mapping[str, Any], folder: Path) -> int:
    """The longest input: what the sentence encoder's file says, else the configuration."""
    sentence = folder / "sentence_bert_config.json"
    if sentence.is_file():
        limit = _read_json(sentence).get("max_seq_length")
        if isinstance(limit, int):
            return limit
    text = config.get("text_config")
    for source in (config, text if isinstance(text, dict) else {}):
        for key in _CONTEXT_KEYS:
            if isinstance(source.get(key), int):
                return int(source[key])
    return 0
