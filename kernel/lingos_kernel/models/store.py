"""The model store: pull, list, resolve, tag, verify, remove."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from lingos_kernel.errors import CorruptModel, DigestMismatch, ModelError
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
from lingos_kernel.models.progress import Meter, PullProgress
from lingos_kernel.models.source import Source, Staging
from lingos_kernel.models.sources import parse_source, unknown_model

__all__ = ["ModelStore", "PullProgress", "StoredModel"]

LOCK_POLL_S = 0.1
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
        for is_match in (_has_name(name), _has_name(name.lower(), fold=True), _has_id(name)):
            found = [model for model in models if is_match(model)]
            if len(found) == 1:
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
            return model if alias is None else self.tag(model.id, alias)
        folder_name(origin.name)
        meter = Meter(origin.name, progress, cancelled)
        fingerprint = origin.fingerprint(meter)
        with disk_full_errors(self.root, self._free_bytes):
            found = self._current(origin.name, fingerprint)
            model = found or self._fetch_alone(origin, fingerprint, meter)
            return model if alias in {None, model.name} else self.tag(model.id, str(alias))

    def tag(self, name: str, alias: str) -> StoredModel:
        """Give a model another name; the alias moves if another model had it."""
        check_alias(alias)
        meter = Meter(alias)
        model = self.resolve(name)
        own = ModelFolder(model.path.parent.parent)
        with self._lock("aliases", meter), self._lock(own.path.name, meter):
            # Somebody may have removed it while this waited.
            model = self.resolve(model.id)
            for folder in model_folders(self.root):
                folder.remove_ref(alias)
            own.write_ref(alias, model.id)
        return self.resolve(model.id)

    def untag(self, alias: str) -> None:
        """Take a name away; the model stays. Raises UnknownModel if nothing has it."""
        check_alias(alias)
        with self._lock("aliases", Meter(alias)):
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
        with self._lock(folder.path.name, Meter(model.name)):
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
        with self._lock(folder_name(origin.name), meter):
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
            with self._try_lock(path.name) as is_mine:
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

    @contextmanager
    def _lock(self, name: str, meter: Meter) -> Iterator[None]:
        """Hold the lock of a name; waits for other processes, and can be cancelled meanwhile."""
        is_first = True
        while True:
            with self._try_lock(name, timeout_s=0.0 if is_first else LOCK_POLL_S) as is_mine:
                if is_mine:
                    yield
                    return
            if is_first:
                meter.begin("waiting")
            meter.check()
            is_first = False

    @contextmanager
    def _try_lock(self, name: str, *, timeout_s: float = 0.0) -> Iterator[bool]:
        """Hold the lock of a name if it is free within the time; says whether it was."""
        from filelock import FileLock, Timeout

        locks = self.root / ".locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(locks / f"{name}.lock")
            lock.acquire(timeout=timeout_s)
        except Timeout:
            yield False
            return
        except PermissionError as error:
            raise ModelError(
                f"the model store {self.root} cannot be written: {error.strerror}",
                hint="check its owner, or put the store elsewhere (setting models.store)",
            ) from error
        try:
            yield True
        finally:
            lock.release()


def _has_name(name: str, *, fold: bool = False) -> Callable[[StoredModel], bool]:
    def is_match(model: StoredModel) -> bool:
        names = (model.name, *model.aliases)
        return name in ((each.lower() for each in names) if fold else names)

    return is_match


def _has_id(name: str) -> Callable[[StoredModel], bool]:
    start = name.rpartition("@")[2]
    is_id = _ID_PREFIX.fullmatch(start) is not None
    return lambda model: is_id and model.id.startswith(start)
