"""Models in a folder of this machine, in the Hugging Face layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lingos_kernel.errors import CorruptModel
from lingos_kernel.models.description import (
    INDEX,
    choose_files,
    indexed_shards,
    licence_of,
    read_json_object,
)
from lingos_kernel.models.files import copy_hashed
from lingos_kernel.models.progress import Meter
from lingos_kernel.models.source import Fetched, Staging


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A folder with config.json, tokenizer.json and safetensors.

    The files are copied, never linked: whoever edits the folder later must not change the store.
    """

    path: Path
    name: str

    can_resume = False

    def fingerprint(self, meter: Meter) -> str:  # noqa: ARG002 - only reading it all would tell
        """Unknown: the folder may have changed."""
        return ""

    def fetch(self, staging: Staging) -> Fetched:
        """Copy the files that a model needs; raises CorruptModel for an unreadable folder."""
        try:
            names = self._choose()
            total = sum((self.path / name).stat().st_size for name in names)
            staging.reserve(total)
            staging.meter.begin("storing", total_bytes=total)
            files = []
            for name in names:
                with (self.path / name).open("rb") as source:
                    files.append(copy_hashed(source, staging.files, name, staging.meter))
        except (PermissionError, NotADirectoryError, FileNotFoundError) as error:
            raise CorruptModel(
                f"the folder {self.path} cannot be read: {error.strerror} ({error.filename})",
                hint="check that the folder exists and that you may read all of its files",
                path=str(self.path),
            ) from error
        return Fetched(files, f"folder:{self.path}", self._licence())

    def _choose(self) -> list[str]:
        there = [
            path.relative_to(self.path).as_posix()
            for pattern in ("*", "*/*")
            for path in self.path.glob(pattern)
            if path.is_file()
        ]
        if not there:
            # `glob` is silent about a folder that may not be read; this is not.
            list(self.path.iterdir())
        has_index = INDEX in there and "model.safetensors" not in there
        shards = indexed_shards(read_json_object(self.path / INDEX)) if has_index else []
        return choose_files(there, origin=str(self.path), shards=shards)

    def _licence(self) -> str:
        card = self.path / "README.md"
        return licence_of(card.read_text(errors="replace")) if card.is_file() else ""
