"""The model store: pull, list, resolve, tag, verify, remove."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from lingos_kernel.errors import CorruptModel, DigestMismatch, InvalidArguments
from lingos_kernel.models.catalogue import DEFAULTS, CatalogueEntry
from lingos_kernel.models.description import describe
from lingos_kernel.models.files import disk_full_errors, hash_file
from lingos_kernel.models.layout import (
    MAIN,
    ModelFolder,
    StoredModel,
    check_alias,
    folder_name,
    missing_files,
    model_folders,
    publish,
    remove_tree,
)
from lingos_kernel.models.locking import ALIASES, hold_lock, try_lock
from lingos_kernel.models.progress import Meter, PullProgress
from lingos_kernel.models.source import Source, Staging
from lingos_kernel.models.sources import parse_source, unknown_model

__all__ = ["ModelStore", "PullProgress", "StoredModel"]

STALE_AFTER_S = 7 * 24 * 3600.0
"""Age at which what an interrupted pull left is deleted."""

_ID_PREFIX = re.compile(r"[0-9a-f]{6,40}")
Report = Callable[[PullProgress], None]


def free_bytes(path: Path) -> int:
    """Bytes free on the disk that a path is, or will be, on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


class ModelStore:
    """The models below one folder. Any number of processes may use it at once."""

    def __init__(
        self,
        root: Path,
        *,
        catalogue: Mapping[str, CatalogueEntry] = DEFAULTS,
        free_bytes: Callable[[Path], int] = free_bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads nothing and makes no folder until it is needed."""
        self.root = root
        self.catalogue = catalogue
        self._free_bytes = free_bytes
        self._clock = clock

    def list(self) -> list[StoredModel]:
        """All models that are whole, by name."""
        models = [model for folder in model_folders(self.root) for model in folder.read_all()]
        return sorted(models, key=lambda model: (model.name.lower(), model.pulled_at))

    def resolve(self, name: str) -> StoredModel:
        """The model with this name, alias, `NAME@VERSION` or start of an id.

        Raises UnknownModel with the nearest names, or CorruptModel if its files are damaged.
        """
        models = self.list()
        for is_match in (_is_named, _is_called, _is_called_nearly, _is_version):
            found = [model for model in models if is_match(model, name)]
            # Models of the same content have the same id, so either will do.
            if len({model.id for model in found}) == 1:
                return found[0]
        self._raise_if_damaged(name)
        names = {model.name for model in models} | {a for model in models for a in model.aliases}
        raise unknown_model(name, names | set(self.catalogue))

    def pull(
        self,
        source: str,
        *,
        alias: str | None = None,
        progress: Report | None = None,
        cancelled: threading.Event | None = None,
    ) -> StoredModel:
        """Have the model in the store: a catalogue name, `hf:...`, a folder or a `.gguf` file.

        Returns at once when it is there already. A folder or file is stored under `alias`, if one
        is given, else under its own name. Blocks for as long as it takes; run it in a thread.
        Raises UnknownModel, DownloadFailed, DiskFull, DigestMismatch, CorruptModel,
        UnsupportedModel or Cancelled; then nothing is listed that was not before.
        """
        if alias is not None:
            check_alias(alias)
        origin = parse_source(source, self.catalogue, name=alias)
        if origin is None:
            model = self.resolve(source)
            return model if alias is None else self._tag(model, alias)
        folder_name(origin.name)
        meter = Meter(origin.name, progress, cancelled)
        fingerprint = origin.fingerprint(meter)
        with disk_full_errors(self.root, self._free_bytes):
            found = self._current(origin.name, fingerprint)
            model = found or self._fetch_alone(origin, fingerprint, meter)
            return model if alias in {None, model.name} else self._tag(model, str(alias))

    def tag(self, name: str, alias: str) -> StoredModel:
        """Give a model another name; the alias moves if another model had it as an alias."""
        return self._tag(self.resolve(name), alias)

    def untag(self, alias: str) -> None:
        """Take a name away; the model stays. Raises UnknownModel if nothing has it."""
        check_alias(alias)
        with hold_lock(self.root, ALIASES, Meter(alias)):
            folders = [f for f in model_folders(self.root) if alias in f.read_refs()]
            for folder in folders:
                folder.remove_ref(alias)
        if not folders:
            raise unknown_model(alias, {a for model in self.list() for a in model.aliases})

    def remove(self, name: str) -> StoredModel:
        """Delete a model, its aliases, and the contents that no other version shares.

        Returns what was removed. Whether something uses it is for the caller to know.
        """
        model = self._resolve_even_damaged(name)
        folder = ModelFolder(model.path.parent.parent)
        with hold_lock(self.root, folder.path.name, Meter(model.name)):
            for alias, of_id in folder.read_refs().items():
                if of_id == model.id:
                    folder.remove_ref(alias)
            doomed = self._staging_path(folder) / "removed"
            doomed.parent.mkdir(parents=True, exist_ok=True)
            if model.path.exists():
                remove_tree(doomed)
                model.path.rename(doomed)
            remove_tree(doomed.parent)
            folder.collect_garbage()
            self._name_newest(folder)
        return model

    def verify(
        self,
        name: str,
        *,
        progress: Report | None = None,
        cancelled: threading.Event | None = None,
    ) -> StoredModel:
        """Read all files of a model again; raises DigestMismatch naming those that changed."""
        model = self.resolve(name)
        meter = Meter(model.name, progress, cancelled)
        meter.begin("hashing", total_bytes=sum(file.bytes for file in model.files))
        changed = [f.path for f in model.files if hash_file(model.path / f.path, meter) != f.sha256]
        if changed:
            raise DigestMismatch(
                f"{', '.join(changed)} of {model.name} changed since it was pulled",
                hint=f"remove and pull it again: lingos rm {model.name}",
                paths=changed,
            )
        return model

    def _tag(self, model: StoredModel, alias: str) -> StoredModel:
        check_alias(alias)
        taken = {folder.name for folder in model_folders(self.root)} | set(self.catalogue)
        if alias in taken:
            raise InvalidArguments(
                f"{alias} is the name of a model and cannot be an alias",
                hint="choose another alias",
            )
        meter = Meter(alias)
        own = ModelFolder(model.path.parent.parent)
        with hold_lock(self.root, ALIASES, meter), hold_lock(self.root, own.path.name, meter):
            if not own.is_whole(model.id):
                raise unknown_model(model.name, ())  # removed while this waited
            for folder in model_folders(self.root):
                folder.remove_ref(alias)
            own.write_ref(alias, model.id)
        return replace(model, aliases=tuple(sorted({*model.aliases, alias})))

    def _current(self, name: str, fingerprint: str) -> StoredModel | None:
        """The stored version that the source has now, if it is there and whole."""
        if not fingerprint:
            return None
        for model in ModelFolder.of(self.root, name).read_all():
            if model.fingerprint == fingerprint and model.name == name:
                return model
        return None

    def _fetch_alone(self, origin: Source, fingerprint: str, meter: Meter) -> StoredModel:
        """Fetch under the model's lock, unless another process did while this one waited."""
        with hold_lock(self.root, folder_name(origin.name), meter):
            found = self._current(origin.name, fingerprint)
            return found or self._fetch(origin, fingerprint, meter)

    def _fetch(self, origin: Source, fingerprint: str, meter: Meter) -> StoredModel:
        """Fetch, check, describe and publish; the caller holds the model's lock."""
        self._clear_stale()
        folder = ModelFolder.of(self.root, origin.name)
        staging = Staging(self._staging_path(folder), meter, self._free_bytes)
        staging.prepare(keep_partial=origin.can_resume)
        try:
            fetched = origin.fetch(staging)
            facts = asdict(describe(staging.files)) | {
                "source": fetched.source,
                "licence": fetched.licence,
                "fingerprint": fingerprint,
                "pulled_at": self._clock(),
            }
            meter.begin("storing")
            meter.check()
            work = staging.path / "work"
            work.mkdir()
            published = publish(folder, fetched.files, facts, staging.files, work)
        except BaseException:
            if not origin.can_resume:
                remove_tree(staging.path)
            raise
        remove_tree(staging.path)
        folder.collect_garbage()
        model = folder.read(published, folder.read_refs())
        if model is None:
            raise CorruptModel(f"{origin.name} vanished while it was stored", hint="pull it again")
        return model

    def _staging_path(self, folder: ModelFolder) -> Path:
        return self.root / ".staging" / folder.path.name

    def _clear_stale(self) -> None:
        """Delete what pulls that were interrupted long ago left, unless one is at it now."""
        staging = self.root / ".staging"
        for path in list(staging.iterdir()) if staging.is_dir() else ():
            if self._clock() - path.stat().st_mtime < STALE_AFTER_S:
                continue
            with try_lock(self.root, path.name) as is_mine:
                if is_mine:
                    remove_tree(path)

    def _name_newest(self, folder: ModelFolder) -> None:
        """After a removal: the newest version left becomes the model; or the folder goes."""
        left = sorted(folder.read_all(), key=lambda model: model.pulled_at)
        if not left:
            remove_tree(folder.path)
        elif MAIN not in folder.read_refs():
            folder.write_ref(MAIN, left[-1].id)

    def _resolve_even_damaged(self, name: str) -> StoredModel:
        """As `resolve`, but a damaged model is found too: it must be removable."""
        try:
            return self.resolve(name)
        except CorruptModel:
            damaged = self._find_damaged(name)
            if damaged is None:
                raise
            return damaged

    def _find_damaged(self, name: str) -> StoredModel | None:
        for folder in model_folders(self.root):
            refs = folder.read_refs()
            for alias, of_id in refs.items():
                if name in {folder.name if alias == MAIN else alias, of_id}:
                    return folder.read(of_id, refs)
        return None

    def _raise_if_damaged(self, name: str) -> None:
        model = self._find_damaged(name)
        if model is not None:
            raise CorruptModel(
                f"{model.name} lacks {', '.join(missing_files(model))}",
                hint=f"pull it again: lingos pull {model.name}",
                model=model.name,
            )


def _is_named(model: StoredModel, name: str) -> bool:
    return model.name == name


def _is_called(model: StoredModel, name: str) -> bool:
    return name in model.aliases


def _is_called_nearly(model: StoredModel, name: str) -> bool:
    return name.lower() in {each.lower() for each in (model.name, *model.aliases)}


def _is_version(model: StoredModel, name: str) -> bool:
    """Whether the name is `NAME@ID` or `ID`, where the start of the id will do."""
    of_name, at, start = name.rpartition("@")
    if at and of_name != model.name.partition("@")[0]:
        return False
    return _ID_PREFIX.fullmatch(start) is not None and model.id.startswith(start)
