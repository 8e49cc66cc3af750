"""Where models come from: the protocol that each kind of source meets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lingos_kernel.models.files import require_room
from lingos_kernel.models.layout import FileFact, remove_tree
from lingos_kernel.models.progress import Meter


@dataclass(frozen=True, slots=True)
class Staging:
    """Where a source puts what it fetches; on the store's own file system."""

    path: Path
    meter: Meter
    free_bytes: Callable[[Path], int]

    @property
    def files(self) -> Path:
        """The model's folder, as it will be stored. Empty at the start."""
        return self.path / "files"

    @property
    def partial(self) -> Path:
        """Downloads. A resumable source finds here what it had when it was interrupted."""
        return self.path / "partial"

    def prepare(self, *, keep_partial: bool) -> None:
        """Make it ready: what an interrupted pull left is deleted, or kept to be resumed."""
        for entry in list(self.path.iterdir()) if self.path.exists() else ():
            if not (keep_partial and entry == self.partial):
                remove_tree(entry)
        self.files.mkdir(parents=True)
        self.partial.mkdir(exist_ok=True)

    def reserve(self, needed_bytes: int) -> None:
        """Raises DiskFull unless so many bytes are free."""
        require_room(self.path.parent.parent, needed_bytes, self.free_bytes)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source put into `Staging.files`."""

    files: Sequence[FileFact]
    source: str
    licence: str


class Source(Protocol):
    """A place that a model can be pulled from."""

    @property
    def name(self) -> str:
        """The name that the model gets in the store."""

    @property
    def can_resume(self) -> bool:
        """Whether `fetch` uses what an interrupted `fetch` left in `Staging.partial`."""

    def fingerprint(self, meter: Meter) -> str:
        """What the source has now; equal ones mean equal models, and empty is unknown."""

    def fetch(self, staging: Staging) -> Fetched:
        """Put the model's verified files into `staging.files`, in the Hugging Face layout."""
