"""GGUF files become the very model that they were made from."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.errors import Cancelled, CorruptModel, UnsupportedModel
from lingos_kernel.models import gguf as gguf_module
from lingos_kernel.models.description import describe
from lingos_kernel.models.gguf import GgufFile, convert_gguf
from lingos_kernel.models.progress import Meter, PullProgress

ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "olmo2", "gpt2"]
TEXTS = [
    "The quick brown fox",
    "  two  spaces\n\n\ttab",
    "naïve 東京 🚀",
    "<|im_start|>user\nx<|im_end|>",
]
IDS = list(range(5, 60))


def convert(path: Path, folder: Path, meter: Meter | None = None) -> Path:
    """Convert a file into `folder`."""
    folder.mkdir()
    convert_gguf(GgufFile(path), folder, meter or Meter("tiny"))
    return folder


def logits(folder: Path, **options: Any) -> Any:
    """What the model in a folder says of `IDS`, computed in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", **options
    )
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_float32_is_the_model_itself(
    architecture: str,
    tiny_model: Callable[[str], Path],
    write_gguf: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Weights come back bit for bit, and the rebuilt configuration computes the same logits."""
    import torch
    from safetensors.torch import load_file

    original = tiny_model(architecture)
    converted = convert(write_gguf(original), tmp_path / "out")
    before = load_file(original / "model.safetensors")
    after = load_file(converted / "model.safetensors")
    assert set(after) == set(before)
    for name, values in before.items():
        # Gemma's norms went through llama.cpp's +1 in float32, which rounds.
        torch.testing.assert_close(after[name], values, rtol=0, atol=1e-6, msg=name)
    torch.testing.assert_close(logits(converted), logits(original), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "phi3"])
def test_agrees_with_transformers_own_reading(
    architecture: str,
    tiny_model: Callable[[str], Path],
    write_gguf: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Reading the GGUF file through transformers gives the same logits.

    Transformers' reading of the others misses keys that the tiny models need (head size, window).
    """
    import torch

    path = write_gguf(tiny_model(architecture), quantisation="Q8_0")
    converted = convert(path, tmp_path / "out")
    theirs = logits(path.parent, gguf_file=path.name)
    torch.testing.assert_close(logits(converted), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("quantisation", "dtype"), [("F16", "float16"), ("BF16", "bfloat16"), ("Q8_0", "float32")]
)
def test_stored_type(
    quantisation: str,
    dtype: str,
    tiny_llama: Path,
    write_gguf: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Half-precision tensors keep their type; quantised ones become exact float32."""
    import numpy as np
    from safetensors.torch import load_file

    path = write_gguf(tiny_llama, quantisation=quantisation)
    converted = convert(path, tmp_path / "out")
    assert describe(converted).dtype == dtype
    values = load_file(converted / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    tensor = GgufFile(path).tensors["blk.1.ffn_down.weight"]
    from gguf.quants import dequantize

    expected = dequantize(tensor.data, tensor.tensor_type)
    assert np.array_equal(values.float().numpy(), expected.astype(np.float32))


def test_large_models_become_bfloat16(
    tiny_llama: Path,
    write_gguf: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above the exact limit, quantised tensors are rounded to bfloat16; norms stay float32."""
    monkeypatch.setattr(gguf_module, "EXACT_PARAMETERS", 1000)
    from safetensors.torch import load_file

    converted = convert(write_gguf(tiny_llama, quantisation="Q8_0"), tmp_path / "out")
    weights = load_file(converted / "model.safetensors")
    assert str(weights["lm_head.weight"].dtype) == "torch.bfloat16"
    assert str(weights["model.norm.weight"].dtype) == "torch.float32"
    assert json.loads((converted / "config.json").read_text())["dtype"] == "bfloat16"


def test_chunks_join_seamlessly(
    tiny_llama: Path,
    write_gguf: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The result does not depend on how many rows are converted at a time."""
    path = write_gguf(tiny_llama, quantisation="Q8_0")
    whole = convert(path, tmp_path / "whole")
    monkeypatch.setattr(gguf_module, "CHUNK_VALUES", 200)
    pieces = convert(path, tmp_path / "pieces")
    name = "model.safetensors"
    assert (whole / name).read_bytes() == (pieces / name).read_bytes()


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_is_kept(
    text: str, tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """The rebuilt tokenizer encodes and decodes as the original."""
    from tokenizers import Tokenizer

    converted = convert(write_gguf(tiny_llama), tmp_path / "out")
    ours = Tokenizer.from_file(str(converted / "tokenizer.json"))
    theirs = Tokenizer.from_file(str(tiny_llama / "tokenizer.json"))
    assert ours.encode(text).ids == theirs.encode(text).ids
    assert ours.decode(ours.encode(text).ids, skip_special_tokens=False) == text


def test_chat_template_and_special_tokens_are_kept(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """The template and the ids of the special tokens are where transformers looks for them."""
    from transformers import AutoTokenizer, GenerationConfig

    converted = convert(write_gguf(tiny_llama), tmp_path / "out")
    ours = AutoTokenizer.from_pretrained(converted)
    theirs = AutoTokenizer.from_pretrained(tiny_llama)
    talk = [{"role": "user", "content": "hello"}]
    options = {"tokenize": False, "add_generation_prompt": True}
    assert ours.apply_chat_template(talk, **options) == theirs.apply_chat_template(talk, **options)
    assert (ours.bos_token, ours.eos_token) == (theirs.bos_token, theirs.eos_token)
    assert GenerationConfig.from_pretrained(converted).eos_token_id == 2


def test_llama3_rope_is_rebuilt(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """Llama 3's frequency factors become the scaling that they follow from."""
    import numpy as np
    import torch
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    # A head of 16 has too few frequencies to reach the scaled band with this base; the factors
    # are computed by transformers and written as llama.cpp's converter does.
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, head_dim=16, rope_parameters=scaling
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 1.0 / (10_000.0 ** (torch.arange(0, 16, 2).float() / 16))
    factors = (plain / scaled).numpy().astype(np.float32)
    path = write_gguf(
        tiny_llama, extra=lambda writer: writer.add_tensor("rope_freqs.weight", factors)
    )
    converted = convert(path, tmp_path / "out")
    rope = json.loads((converted / "config.json").read_text())["rope_parameters"]
    assert rope == scaling


def test_unknown_rope_factors_are_refused(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """Frequency factors that are not Llama 3's are not guessed at."""
    import numpy as np

    odd = np.linspace(1, 5, 8, dtype=np.float32)
    path = write_gguf(tiny_llama, extra=lambda writer: writer.add_tensor("rope_freqs.weight", odd))
    with pytest.raises(UnsupportedModel, match="rotary frequencies"):
        convert(path, tmp_path / "out")


def test_unknown_architecture_is_named(tmp_path: Path) -> None:
    """An architecture that is not converted is refused by its name."""
    from gguf import GGUFWriter

    path = tmp_path / "other.gguf"
    writer = GGUFWriter(path, "rwkv7")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match="rwkv7") as caught:
        convert(path, tmp_path / "out")
    assert "llama" in caught.value.hint


def test_experts_are_refused(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A llama with experts (Mixtral) is not taken for a plain one."""
    path = write_gguf(tiny_llama, extra=lambda writer: writer.add_expert_count(8))
    with pytest.raises(UnsupportedModel, match="experts"):
        convert(path, tmp_path / "out")


def test_unknown_tensor_is_named(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A tensor that the architecture does not have is not dropped in silence."""
    import numpy as np

    path = write_gguf(
        tiny_llama,
        extra=lambda writer: writer.add_tensor("blk.0.magic.weight", np.ones(4, np.float32)),
    )
    with pytest.raises(UnsupportedModel, match=r"blk\.0\.magic\.weight"):
        convert(path, tmp_path / "out")


def test_unknown_tokenizer_split_is_refused(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A split that is not known would give wrong tokens, so the file is refused."""

    path = write_gguf(tiny_llama)
    content = path.read_bytes()
    # The value of tokenizer.ggml.pre, with its length before it.
    path.write_bytes(content.replace(b"\x05\0\0\0\0\0\0\0gpt-2", b"\x05\0\0\0\0\0\0\0chaos"))
    with pytest.raises(UnsupportedModel, match="chaos"):
        convert(path, tmp_path / "out")


def test_missing_tensor_is_corrupt(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A layer without one of its tensors is told, not filled with random values."""
    path = write_gguf(tiny_llama, skip=frozenset({"blk.1.ffn_up.weight"}))
    with pytest.raises(CorruptModel, match="layer 1"):
        convert(path, tmp_path / "out")


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.05, 0.5, 0.999])
def test_truncated_file_is_corrupt(
    kept: float, tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A file cut anywhere is told to be truncated, with what to do."""
    path = write_gguf(tiny_llama)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CorruptModel, match="truncated") as caught:
        convert(path, tmp_path / "out")
    assert "again" in caught.value.hint


def test_other_file_is_corrupt(tmp_path: Path) -> None:
    """Something that is no GGUF file is told so."""
    path = tmp_path / "not.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    with pytest.raises(CorruptModel, match="not a GGUF file"):
        GgufFile(path)


def test_cancel_in_the_middle(
    tiny_llama: Path, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    """A conversion ends soon after it is cancelled."""
    stop = threading.Event()

    def report(progress: PullProgress) -> None:
        if progress.phase == "converting":
            stop.set()

    with pytest.raises(Cancelled):
        convert(write_gguf(tiny_llama), tmp_path / "out", Meter("tiny", report, stop))
