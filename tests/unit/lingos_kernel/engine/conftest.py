"""Codecs over small tokenizers, made here so that the tests need no download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers
from tokenizers import models as token_models

from lingos_kernel.engine.messages import (
    Command,
    Event,
    Failed,
    Generate,
    LoadModel,
    ModelSpec,
    Outputs,
    SamplingParams,
    SequenceOutput,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.errors import LingOSError, from_wire
from lingos_kernel.models.text_codec import TextCodec

if TYPE_CHECKING:
    from lingos_kernel.engine.core import EngineCore


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


class CoreDriver:
    """An engine core with one model `m`, and what it said so far."""

    def __init__(
        self,
        path: Path,
        *,
        kind: str = "causal",
        kv_bytes: int = 0,
        weights: str = "native",
        kv: str = "native",
        **settings: Any,
    ):
        import torch

        from lingos_kernel.engine.core import EngineCore

        torch.set_num_threads(1)
        self.now_s = 0.0
        self.core: EngineCore = EngineCore(EngineSettings(**settings), lambda: self.now_s)
        self.events: list[Event] = []
        self.outputs: dict[tuple[str, int], list[SequenceOutput]] = {}
        self.errors: dict[str, LingOSError] = {}
        spec = ModelSpec(
            name="m",
            path=str(path),
            kind=kind,  # type: ignore[arg-type]  # texts in tests
            weight_format=weights,  # type: ignore[arg-type]
            kv_format=kv,  # type: ignore[arg-type]
            kv_bytes=kv_bytes,
        )
        self.send(LoadModel(spec))

    def send(self, *commands: Command) -> None:
        """Hand commands to the core."""
        for command in commands:
            self._note(self.core.handle(command))

    def generate(self, request_id: str, prompt: list[int], **params: Any) -> None:
        """Start a request."""
        self.send(Generate(request_id, "m", tuple(prompt), SamplingParams(**params)))

    def step(self, times: int = 1) -> None:
        """Advance, a millisecond each."""
        for _ in range(times):
            self.now_s += 0.001
            self._note(self.core.step())

    def run(self) -> None:
        """Advance until nothing is left to do."""
        while self.core.has_work:
            self.step()
        self.core.check_integrity()

    def tokens(self, request_id: str, choice: int = 0) -> list[int]:
        """What a choice has said so far."""
        return [
            t for output in self.outputs.get((request_id, choice), ()) for t in output.token_ids
        ]

    def text(self, request_id: str, choice: int = 0) -> str:
        """The text of a choice so far."""
        return "".join(output.text for output in self.outputs.get((request_id, choice), ()))

    def last(self, request_id: str, choice: int = 0) -> SequenceOutput:
        """The newest output of a choice."""
        return self.outputs[request_id, choice][-1]

    def _note(self, events: list[Event]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, Outputs):
                for output in event.outputs:
                    self.outputs.setdefault((output.request_id, output.choice), []).append(output)
            elif isinstance(event, Failed):
                self.errors[event.request_id] = from_wire(event.error)


@pytest.fixture(scope="session")
def drive() -> Callable[..., CoreDriver]:
    """`drive(path, ...)` loads a model into an engine core and drives it by hand."""
    return CoreDriver
