"""Models from folders into memory, and the device they go to. Imports torch and transformers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from safetensors import SafetensorError
from transformers import AutoModel, AutoModelForCausalLM

from lingos_kernel.errors import CorruptModel, OutOfMemory, UnsupportedModel

DtypeName = Literal["auto", "float32", "bfloat16", "float16"]


def resolve_device(name: str) -> torch.device:
    """The device of a name; "auto" is the first GPU, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def resolve_dtype(name: DtypeName, device: torch.device) -> torch.dtype:
    """The dtype of a name; "auto" is float32 on a CPU (exact), bfloat16 elsewhere."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def load_causal(path: Path, *, device: torch.device, dtype: torch.dtype | None) -> Any:
    """A causal language model from a folder, ready to run; `dtype` None: as it is on disk.

    Raises `CorruptModel`, `UnsupportedModel` or `OutOfMemory`.
    """
    with _told(path):
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype or "auto", local_files_only=True, trust_remote_code=False
        )
        return _ready(model, device)


def load_encoder(path: Path, *, device: torch.device, dtype: torch.dtype) -> Any:
    """An encoder (its hidden states, no head) from a folder; raises as `load_causal` does."""
    with _told(path):
        model = AutoModel.from_pretrained(
            path, dtype=dtype, local_files_only=True, trust_remote_code=False
        )
        return _ready(model, device)


def build_causal(config: Any, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A causal language model with random weights, from its transformers configuration."""
    return _ready(AutoModelForCausalLM.from_config(config, dtype=dtype), device)


def parameter_count(model: Any) -> int:
    """How many numbers a model was trained to; tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def context_tokens_of(config: Any) -> int:
    """The positions that a model can tell apart; 0 when its configuration does not say.

    Rotary frequencies of the "dynamic" and "longrope" kinds depend on the longest sequence of
    a forward pass, so beyond the original context results would depend on batch-mates: such a
    model keeps to its original context here.
    """
    text = config.get_text_config()
    longest = int(getattr(text, "max_position_embeddings", 0) or getattr(text, "n_positions", 0))
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):
        original = rope.get("original_max_position_embeddings") or getattr(
            text, "original_max_position_embeddings", None
        )
        return int(original or longest)
    return longest


def free_bytes(device: torch.device) -> int:
    """Memory that could be allocated on a device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return psutil.virtual_memory().available


def total_bytes(device: torch.device) -> int:
    """Memory of a device."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return psutil.virtual_memory().total


def describe(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_properties(device).name)
    return f"{_processor()}, {psutil.cpu_count(logical=True)} cores"


def _ready(model: Any, device: torch.device) -> Any:
    model.requires_grad_(False)
    return model.to(device).eval()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what libraries raise into errors that say what to do."""
    if not (path / "config.json").is_file():
        raise CorruptModel(
            f"{path} holds no config.json", hint="remove the model and pull it again"
        )
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"no memory for the weights of {path.name}: {error}", hint="unload another model"
        ) from error
    except (SafetensorError, OSError, json.JSONDecodeError, RuntimeError) as error:
        raise CorruptModel(
            f"the model in {path} cannot be read: {error}",
            hint="remove the model and pull it again",
        ) from error
    except (ValueError, KeyError, ImportError) as error:
        raise UnsupportedModel(
            f"transformers cannot load {path.name} ({_architecture(path)}): {error}",
            hint="choose a model that transformers knows by itself",
        ) from error


def _architecture(path: Path) -> str:
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
    except ValueError:
        return "unreadable config.json"
    return str((config.get("architectures") or [config.get("model_type", "unknown")])[0])


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "CPU"


__all__ = [
    "build_causal",
    "context_tokens_of",
    "describe",
    "free_bytes",
    "load_causal",
    "load_encoder",
    "parameter_count",
    "resolve_device",
    "resolve_dtype",
    "total_bytes",
]
