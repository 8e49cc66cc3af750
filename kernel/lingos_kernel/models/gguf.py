"""GGUF files: dequantised once into safetensors in the Hugging Face layout.

Values are computed by gguf's own `dequantize`, in float32. Tensors that are not quantised keep
their type, so nothing of them is lost. Quantised ones become float32, exactly, up to
`EXACT_PARAMETERS`; above, bfloat16, whose rounding is smaller than the quantisation's own error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import CorruptModel, UnsupportedModel
from lingos_kernel.models.description import WEIGHTS
from lingos_kernel.models.files import HashedFile, hash_file, write_json
from lingos_kernel.models.gguf_architectures import Placement, architecture_of
from lingos_kernel.models.gguf_tokenizer import special_ids, write_tokenizer
from lingos_kernel.models.layout import FileFact
from lingos_kernel.models.progress import Meter
from lingos_kernel.models.source import Fetched, Staging

if TYPE_CHECKING:
    import numpy as np

EXACT_PARAMETERS = 1_000_000_000
CHUNK_VALUES = 4 << 20

_KEPT = {"F32": "F32", "F16": "F16", "BF16": "BF16"}
_VALUE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_READ_ERRORS = (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class GgufSource:
    """A `.gguf` file on this machine."""

    path: Path
    name: str

    can_resume = False

    def fingerprint(self, meter: Meter) -> str:
        """The file's SHA-256."""
        meter.begin("hashing", total_bytes=self.path.stat().st_size, file=self.path.name)
        return f"gguf {hash_file(self.path, meter)}"

    def fetch(self, staging: Staging) -> Fetched:
        """Convert the file."""
        facts, licence = convert_into(staging, self.path)
        return Fetched(facts, f"gguf:{self.path}", licence)


class GgufFile:
    """A GGUF file: its metadata, and its tensors by name."""

    def __init__(self, path: Path) -> None:
        """Raises CorruptModel when it is truncated or not a GGUF file."""
        from gguf import GGUFReader

        self.path = path
        try:
            reader = GGUFReader(path)
            self.metadata: dict[str, Any] = {
                name: field.contents() for name, field in reader.fields.items()
            }
        except _READ_ERRORS as error:
            raise CorruptModel(
                f"{path.name} is truncated or not a GGUF file: {error}",
                hint="get the file again, and compare its size and SHA-256 with the publisher's",
                path=str(path),
            ) from error
        self.tensors: dict[str, Any] = {tensor.name: tensor for tensor in reader.tensors}

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding matrix; raises CorruptModel if there is none."""
        if "token_embd.weight" not in self.tensors:
            raise CorruptModel(
                f"{self.path.name} has no token embeddings",
                hint="name the file with the model itself, not a projector or an adapter",
            )
        return int(self.tensors["token_embd.weight"].shape[-1])

    @property
    def converted_bytes(self) -> int:
        """How large the converted weights are."""
        return sum(
            int(tensor.n_elements) * _VALUE_BYTES[self.stored_type(name)]
            for name, tensor in self.tensors.items()
        )

    def stored_type(self, name: str) -> str:
        """The safetensors type that a tensor is stored as."""
        kind = self.tensors[name].tensor_type.name
        return _KEPT.get(kind, "F32" if self._is_small else "BF16")

    @property
    def main_dtype(self) -> str:
        """The dtype of the embedding matrix, which stands for the model's."""
        return _DTYPES[self.stored_type("token_embd.weight")]

    def values(self, tensor: str) -> list[float]:
        """A small tensor's values."""
        return [float(value) for value in self.tensors[tensor].data.reshape(-1)]

    @property
    def _is_small(self) -> bool:
        return sum(int(tensor.n_elements) for tensor in self.tensors.values()) <= EXACT_PARAMETERS


def convert_into(staging: Staging, path: Path) -> tuple[list[FileFact], str]:
    """Convert a GGUF file into `staging.files`; returns the files, and the licence it states."""
    staging.meter.begin("converting", file=path.name)
    file = GgufFile(path)
    staging.reserve(file.converted_bytes)
    facts = convert_gguf(file, staging.files, staging.meter)
    return facts, str(file.metadata.get("general.license", ""))


def convert_gguf(file: GgufFile, folder: Path, meter: Meter) -> list[FileFact]:
    """Write the file's model into `folder` in the Hugging Face layout.

    Memory stays at a few chunks of `CHUNK_VALUES`. Raises UnsupportedModel, CorruptModel or
    Cancelled.
    """
    architecture = architecture_of(file.metadata)
    config = architecture.config(file)
    config |= special_ids(file.metadata) | {"dtype": file.main_dtype}
    placements = {
        name: placement
        for name in file.tensors
        if (placement := architecture.place(name, config)) is not None
    }
    _check_layers(placements, int(config.get("num_hidden_layers") or config["n_layer"]))
    context = int(config.get("max_position_embeddings") or config["n_positions"])
    facts = write_tokenizer(
        file.metadata, folder, architecture=architecture.gguf_name, context_tokens=context
    )
    facts.append(write_json(folder, "config.json", config))
    facts.append(_write_weights(file, placements, folder, meter))
    return facts


def _check_layers(placements: dict[str, Placement], layers: int) -> None:
    """Raises CorruptModel unless all layers are there, each with the same tensors."""
    by_layer: dict[int, set[str]] = {layer: set() for layer in range(layers)}
    for name in placements:
        if name.startswith("blk."):
            _, layer, kind = name.split(".", 2)
            by_layer.setdefault(int(layer), set()).add(kind)
    expected = by_layer.get(0, set())
    odd = [layer for layer, kinds in by_layer.items() if kinds != expected]
    if odd or not expected or len(by_layer) != layers:
        raise CorruptModel(
            f"the GGUF file lacks tensors of layer {odd[0] if odd else 0}",
            hint="if it is one of several parts, merge them first (llama-gguf-split --merge)",
        )


def _write_weights(
    file: GgufFile, placements: dict[str, Placement], folder: Path, meter: Meter
) -> FileFact:
    """Stream all tensors into one safetensors file."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, placement in placements.items():
        stored, shape = file.stored_type(name), _shape(file.tensors[name], placement)
        start, end = end, end + int(file.tensors[name].n_elements) * _VALUE_BYTES[stored]
        header[placement.name] = {"dtype": stored, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    meter.begin("converting", total_bytes=end, file=WEIGHTS)
    with HashedFile(folder, WEIGHTS) as output:
        output.write(len(text).to_bytes(8, "little") + text)
        for name, placement in placements.items():
            for chunk in _chunks(file.tensors[name], placement, file.stored_type(name)):
                output.write(chunk)
                meter.advance(len(chunk))
    return output.fact


def _shape(tensor: Any, placement: Placement) -> list[int]:
    shape = [int(dimension) for dimension in reversed(tensor.shape.tolist())]
    return shape[::-1] if placement.is_transposed else shape


def _chunks(tensor: Any, placement: Placement, stored: str) -> Iterator[memoryview]:
    """The tensor's values as they are stored, some rows at a time."""
    import numpy as np

    rows = tensor.data.reshape(-1, tensor.data.shape[-1]) if tensor.data.ndim > 1 else None
    if rows is None or placement.is_transposed:
        values = _float32(tensor.data, tensor)
        yield _pack(values.T if placement.is_transposed else values - placement.offset, stored)
        return
    order = _row_order(len(rows), placement.rotary_heads)
    step = max(1, CHUNK_VALUES * len(rows) // int(tensor.n_elements))
    for start in range(0, len(rows), step):
        part = rows[start : start + step] if order is None else rows[order[start : start + step]]
        yield _pack(_float32(part, tensor) - np.float32(placement.offset), stored)


def _row_order(rows: int, heads: int) -> np.ndarray[Any, Any] | None:
    """Which stored row each row is, where llama.cpp interleaved the halves of each head."""
    if not heads:
        return None
    import numpy as np

    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)


def _float32(data: Any, tensor: Any) -> np.ndarray[Any, Any]:
    import numpy as np
    from gguf.quants import dequantize

    try:
        return np.asarray(dequantize(data, tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        raise UnsupportedModel(
            f"the GGUF quantisation {tensor.tensor_type.name} is not supported",
            hint="get a file in another quantisation (Q4_K_M, Q8_0, F16...)",
        ) from error


def _pack(values: np.ndarray[Any, Any], stored: str) -> memoryview:
    """The bytes of float32 values in the stored type."""
    import numpy as np
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    if stored == "BF16":
        packed = quantize(np.ascontiguousarray(values, np.float32), GGMLQuantizationType.BF16)
    else:
        packed = np.ascontiguousarray(values, np.float16 if stored == "F16" else np.float32)
    return np.ascontiguousarray(packed).data.cast("B")
