"""Where the store keeps things on disk, and how they get there whole.

    ROOT/models--ORG--NAME/blobs/<sha256>        the files' contents
                          /snapshots/<id>/...    links to blobs, and lingos.json with the facts
                          /refs/<alias>          a snapshot's id; `main` is the model's own name
    ROOT/.staging/models--ORG--NAME/             what is being pulled
    ROOT/.locks/models--ORG--NAME.lock           held by the process that changes the model

A snapshot appears by one rename, after everything in it is on the disk: what is listed is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lingos_kernel.errors import InvalidArguments, ModelError

MANIFEST = "lingos.json"
MAIN = "main"
FORMAT = 1

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

Kind = Literal["causal", "encoder"]


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file of a model."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store, whole and ready to load."""

    name: str
    """What `resolve` finds it by; an older version's name ends in `@` and its id's start."""
    id: str
    path: Path
    """Its folder, in the Hugging Face layout."""
    kind: Kind
    architecture: str
    parameters: int
    bytes_on_disk: int
    context_tokens: int
    source: str
    licence: str
    pulled_at: float
    """Seconds since 1970."""
    aliases: tuple[str, ...]
    dtype: str
    files: tuple[FileFact, ...]
    fingerprint: str
    """What the source was when this was pulled; see `Source.fingerprint`."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model's folder in the store: its versions and their names."""

    path: Path

    @classmethod
    def of(cls, root: Path, name: str) -> ModelFolder:
        """The folder of a model's name, which need not exist."""
        return cls(root / folder_name(name))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.path.name.removeprefix("models--").replace("--", "/")

    @property
    def blobs(self) -> Path:
        """Where the contents are."""
        return self.path / "blobs"

    @property
    def snapshots(self) -> Path:
        """Where the versions are."""
        return self.path / "snapshots"

    @property
    def refs(self) -> Path:
        """Where the names of versions are."""
        return self.path / "refs"

    def read_refs(self) -> dict[str, str]:
        """Snapshot id by alias."""
        refs = {}
        for entry in _scan(self.refs):
            try:
                refs[entry.name] = Path(entry.path).read_text().strip()
            except FileNotFoundError:
                continue  # another process has just removed it
        return refs

    def write_ref(self, alias: str, snapshot_id: str) -> None:
        """Make the alias mean the snapshot, atomically."""
        self.refs.mkdir(parents=True, exist_ok=True)
        replace_file(self.refs / alias, f"{snapshot_id}\n".encode())

    def remove_ref(self, alias: str) -> None:
        """Forget the alias, if it is there."""
        (self.refs / alias).unlink(missing_ok=True)

    def read_all(self) -> Iterator[StoredModel]:
        """Each version whose files are all there."""
        refs = self.read_refs()
        for entry in _scan(self.snapshots):
            model = self.read(entry.name, refs)
            if model is not None and not missing_files(model):
                yield model

    def read(self, snapshot_id: str, refs: Mapping[str, str]) -> StoredModel | None:
        """One version from its lingos.json, or None if it is not there or unreadable."""
        path = self.snapshots / snapshot_id
        try:
            facts = json.loads((path / MANIFEST).read_bytes())
            files = tuple(FileFact(**file) for file in facts["files"])
            is_main = refs.get(MAIN) == snapshot_id
            return StoredModel(
                name=self.name if is_main else f"{self.name}@{snapshot_id[:8]}",
                id=snapshot_id,
                path=path,
                aliases=tuple(
                    sorted(
                        alias for alias, of in refs.items() if of == snapshot_id and alias != MAIN
                    )
                ),
                files=files,
                bytes_on_disk=sum({file.sha256: file.bytes for file in files}.values()),
                **{key: facts[key] for key in _FACT_KEYS},
            )
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None

    def is_whole(self, snapshot_id: str) -> bool:
        """Whether the version is there with all its files."""
        model = self.read(snapshot_id, {})
        return model is not None and not missing_files(model)

    def collect_garbage(self) -> None:
        """Delete blobs that no snapshot links to."""
        used = {file.sha256 for model in self.read_all() for file in model.files}
        for entry in _scan(self.blobs):
            if entry.name not in used:
                Path(entry.path).unlink()


_FACT_KEYS = (
    "kind",
    "architecture",
    "parameters",
    "context_tokens",
    "source",
    "licence",
    "pulled_at",
    "dtype",
    "fingerprint",
)


def folder_name(name: str) -> str:
    """The folder of a model's name; raises InvalidArguments for a name no model can have."""
    if not _NAME.fullmatch(name) or "--" in name:
        raise InvalidArguments(
            f"{name!r} cannot be a model's name",
            hint="use letters, digits, '.', '_', '-' and at most one '/'",
        )
    return "models--" + name.replace("/", "--")


def check_alias(alias: str) -> str:
    """The alias itself; raises InvalidArguments if a file or the command line could not hold it."""
    if not _ALIAS.fullmatch(alias) or alias == MAIN:
        raise InvalidArguments(
            f"{alias!r} cannot be an alias", hint="use letters, digits, '.', '_', ':' and '-'"
        )
    return alias


def model_folders(root: Path) -> Iterator[ModelFolder]:
    """Each model's folder, by name."""
    for entry in _scan(root):
        if entry.name.startswith("models--"):
            yield ModelFolder(Path(entry.path))


def missing_files(model: StoredModel) -> list[str]:
    """The files of a version that are gone or have another size; cheap, reads no content."""
    missing = []
    for file in model.files:
        try:
            if (model.path / file.path).stat().st_size != file.bytes:
                missing.append(file.path)
        except OSError:
            missing.append(file.path)
    return missing


def snapshot_id(files: Sequence[FileFact]) -> str:
    """The same for the same contents at the same paths."""
    lines = sorted(f"{file.sha256} {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]


def publish(
    folder: ModelFolder,
    files: Sequence[FileFact],
    facts: Mapping[str, Any],
    staged: Path,
    work: Path,
) -> str:
    """Move the staged files into the store as one snapshot; returns its id.

    `staged` holds the files, written and fsynced; `work` is an empty place on the same file system.
    The caller holds the model's lock.
    """
    new_id = snapshot_id(files)
    folder.blobs.mkdir(parents=True, exist_ok=True)
    folder.snapshots.mkdir(exist_ok=True)
    for file in files:
        # Replacing a blob is safe: the content is the same, and heals one that was damaged.
        (staged / file.path).replace(folder.blobs / file.sha256)
    _sync_folder(folder.blobs)
    listing = [{"path": file.path, "bytes": file.bytes, "sha256": file.sha256} for file in files]
    manifest = json.dumps({"format": FORMAT, **facts, "files": listing}, indent=1).encode()
    target = folder.snapshots / new_id
    if folder.is_whole(new_id):
        replace_file(target / MANIFEST, manifest)
    else:
        snapshot = work / new_id
        _link_files(snapshot, files)
        replace_file(snapshot / MANIFEST, manifest)
        if target.exists():
            target.rename(work / "broken")
        snapshot.rename(target)
        _sync_folder(folder.snapshots)
    folder.write_ref(MAIN, new_id)
    return new_id


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file so that it is either the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def remove_tree(path: Path) -> None:
    """Delete a folder and all in it, or a file, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _link_files(snapshot: Path, files: Sequence[FileFact]) -> None:
    for file in files:
        link = snapshot / file.path
        link.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + file.path.count("/"))
        link.symlink_to(f"{up}blobs/{file.sha256}")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name; nothing if it is not there (any more)."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise ModelError(
            f"{folder} in the model store cannot be read: {error.strerror}",
            hint="check its owner and mode, or use another store (setting models.store)",
        ) from error
    return sorted(visible, key=lambda entry: entry.name)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
