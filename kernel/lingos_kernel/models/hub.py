"""Models on the Hugging Face hub, or on a server that speaks its protocol (HF_ENDPOINT)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingos_kernel.errors import (
    DigestMismatch,
    DownloadFailed,
    LingOSError,
    UnknownModel,
)
from lingos_kernel.models.catalogue import PinnedFile
from lingos_kernel.models.description import INDEX, choose_files, indexed_shards, read_json_object
from lingos_kernel.models.files import check_pinned, hash_file, sync_file
from lingos_kernel.models.gguf import convert_into
from lingos_kernel.models.layout import FileFact
from lingos_kernel.models.progress import Meter
from lingos_kernel.models.source import Fetched, Staging

TIMEOUT_S = 30.0
DOWNLOAD_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository, as the hub describes it."""

    path: str
    bytes: int
    sha256: str
    """Of large files; empty for small ones."""
    git_id: str
    """Of small files: Git's own digest of a blob."""

    commit: str

    def part(self, staging: Staging) -> Path:
        """Where it is downloaded to: the same for the same content, so that it can be resumed."""
        of_path = hashlib.sha256(f"{self.commit} {self.path}".encode()).hexdigest()
        return staging.partial / f"{self.sha256 or self.git_id or of_path}.part"


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit of a repository."""

    commit: str
    files: dict[str, RemoteFile]
    licence: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """`hf:ORG/NAME[@REVISION][:FILE.gguf]`."""

    repo: str
    revision: str
    file: str
    name: str
    pinned: tuple[PinnedFile, ...] = ()
    licence: str = ""

    can_resume = True

    def fingerprint(self, meter: Meter) -> str:
        """The commit that the revision means now."""
        meter.begin("downloading", file=self.repo)
        commit = self._look_up().commit
        return " ".join(["hf", commit, self.file, *(pin.sha256 for pin in self.pinned)])

    def fetch(self, staging: Staging) -> Fetched:
        """Download the safetensors model, or the named GGUF file, and check all digests."""
        repository = self._look_up()
        if self.file:
            facts = self._fetch_gguf(repository, staging)
        else:
            facts = self._fetch_folder(repository, staging)
        source = f"hf:{self.repo}@{repository.commit}" + (f":{self.file}" if self.file else "")
        licence = self.licence or repository.licence
        return Fetched(facts, source, licence)

    def _look_up(self) -> Repository:
        from huggingface_hub import HfApi

        with self._hub_errors(self.repo):
            info = HfApi(endpoint=_endpoint()).model_info(
                self.repo, revision=self.revision, files_metadata=True, timeout=TIMEOUT_S
            )
        files = [_remote_file(sibling, str(info.sha)) for sibling in info.siblings or ()]
        card = info.card_data
        licence = str(card.get("license") or "") if card is not None else ""
        return Repository(str(info.sha), {file.path: file for file in files}, licence)

    def _fetch_gguf(self, repository: Repository, staging: Staging) -> list[FileFact]:
        if self.file not in repository.files:
            ggufs = sorted(name for name in repository.files if name.endswith(".gguf"))
            raise UnknownModel(
                f"{self.repo} has no file {self.file}",
                hint=f"it has {', '.join(ggufs) or 'no GGUF files'}",
            )
        remote = repository.files[self.file]
        staging.reserve(remote.bytes)
        staging.meter.begin("downloading", total_bytes=remote.bytes, file=self.file)
        self._download(repository, remote, staging, done_bytes=0)
        staging.meter.begin("hashing", total_bytes=remote.bytes, file=self.file)
        self._verify(remote, staging)
        return convert_into(staging, remote.part(staging))[0]

    def _fetch_folder(self, repository: Repository, staging: Staging) -> list[FileFact]:
        remotes = [repository.files[name] for name in self._choose(repository, staging)]
        total = sum(remote.bytes for remote in remotes)
        there = sum(path.stat().st_size for path in staging.partial.rglob("*") if path.is_file())
        staging.reserve(max(0, total - there))
        staging.meter.begin("downloading", total_bytes=total, file=self.repo)
        done = 0
        for remote in remotes:
            self._download(repository, remote, staging, done_bytes=done)
            done += remote.bytes
        staging.meter.begin("hashing", total_bytes=total, file=self.repo)
        facts = [self._verify(remote, staging) for remote in remotes]
        for remote in remotes:
            target = staging.files / remote.path
            target.parent.mkdir(parents=True, exist_ok=True)
            # A link and no move: two files of the same content share one part.
            target.hardlink_to(remote.part(staging))
        return facts

    def _choose(self, repository: Repository, staging: Staging) -> list[str]:
        shards: Sequence[str] = ()
        if INDEX in repository.files and "model.safetensors" not in repository.files:
            index = repository.files[INDEX]
            staging.meter.begin("downloading", total_bytes=index.bytes, file=INDEX)
            path = self._download(repository, index, staging, done_bytes=0)
            shards = indexed_shards(read_json_object(path))
        return choose_files(repository.files, origin=f"hf:{self.repo}", shards=shards)

    def _download(
        self, repository: Repository, remote: RemoteFile, staging: Staging, *, done_bytes: int
    ) -> Path:
        """Download one file into `staging.partial`, from where an earlier try ended."""
        from huggingface_hub import constants, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined] # is public

        # Each chunk moves the bar, and is when a cancel is heard.
        constants.DOWNLOAD_CHUNK_SIZE = DOWNLOAD_CHUNK_BYTES
        staging.meter.reach(done_bytes, file=remote.path)
        url = hf_hub_url(self.repo, remote.path, revision=repository.commit, endpoint=_endpoint())
        part = remote.part(staging)
        with self._hub_errors(remote.path), part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=remote.bytes,
                displayed_filename=remote.path,
                tqdm_class=_bar_class(staging.meter, done_bytes),
            )
        return part

    def _verify(self, remote: RemoteFile, staging: Staging) -> FileFact:
        """Hash a downloaded file and compare it with what the hub and the catalogue say.

        A wrong file is deleted, so that the next try fetches it anew.
        """
        path = remote.part(staging)
        fact = FileFact(remote.path, path.stat().st_size, hash_file(path, staging.meter))
        sync_file(path)
        try:
            _check_remote(fact, remote, path, origin=f"hf:{self.repo}")
            for pin in self.pinned:
                if pin.member == remote.path:
                    check_pinned(
                        fact, sha256=pin.sha256, size_bytes=pin.bytes, origin=f"hf:{self.repo}"
                    )
        except DigestMismatch:
            path.unlink()
            raise
        return fact

    @contextmanager
    def _hub_errors(self, what: str) -> Iterator[None]:
        """Turns the hub client's errors into LingOS's."""
        from huggingface_hub import errors as hub

        try:
            yield
        except LingOSError:
            raise
        except hub.GatedRepoError as error:
            raise DownloadFailed(
                f"{self.repo} asks for its terms to be accepted",
                hint=f"accept them at {_shown_endpoint()}/{self.repo}, then set HF_TOKEN",
            ) from error
        except hub.RevisionNotFoundError as error:
            raise UnknownModel(
                f"{self.repo} has no revision {self.revision}", hint="check the part after the @"
            ) from error
        except hub.RepositoryNotFoundError as error:
            raise self._not_found(error) from error
        except hub.EntryNotFoundError as error:
            raise UnknownModel(f"{self.repo} has no file {what}", hint="check its name") from error
        except hub.OfflineModeIsEnabled as error:
            raise DownloadFailed(
                f"{self.repo} cannot be fetched: the hub client is offline",
                hint="unset HF_HUB_OFFLINE (and TRANSFORMERS_OFFLINE)",
            ) from error
        except Exception as error:
            raise self._failure(what, error) from error

    def _not_found(self, error: Any) -> LingOSError:
        if error.response.status_code == 401 and os.environ.get("HF_TOKEN"):
            return DownloadFailed(
                f"the hub refused access to {self.repo}",
                hint="check that HF_TOKEN is valid and may read this repository",
            )
        return UnknownModel(
            f"the hub has no model {self.repo}, or it is private",
            hint="check the name; for a private one, set HF_TOKEN",
        )

    def _failure(self, what: str, error: Exception) -> Exception:
        """What an error of the network, the disk or the server means."""
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in {401, 403}:
            return DownloadFailed(
                f"the hub refused access to {self.repo} (status {status})",
                hint="set HF_TOKEN to a token that may read this repository",
            )
        if isinstance(error, OSError) and error.errno is not None and status is None:
            return error
        return DownloadFailed(
            f"{what} could not be downloaded from {_shown_endpoint()}: "
            f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason'}",
            hint="check the network; then pull again, and it goes on where it stopped",
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _shown_endpoint() -> str:
    from huggingface_hub import constants

    return _endpoint() or str(constants.ENDPOINT)


def _remote_file(sibling: Any, commit: str) -> RemoteFile:
    return RemoteFile(
        path=str(sibling.rfilename),
        bytes=int(sibling.size or 0),
        sha256=str(sibling.lfs.sha256) if sibling.lfs else "",
        git_id=str(sibling.blob_id or "") if not sibling.lfs else "",
        commit=commit,
    )


def _check_remote(fact: FileFact, remote: RemoteFile, path: Path, *, origin: str) -> None:
    """Raises DigestMismatch unless the file is the one that the hub describes."""
    if remote.sha256:
        check_pinned(fact, sha256=remote.sha256, size_bytes=remote.bytes, origin=origin)
    elif remote.git_id and _git_id(path) != remote.git_id:
        raise DigestMismatch(
            f"{fact.path} from {origin} is not the file that the hub describes",
            hint="nothing was stored; pull again",
            path=fact.path,
        )


def _git_id(path: Path) -> str:
    """Git's name of a file's content; no protection against an attacker, as Git's is none."""
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def _bar_class(meter: Meter, done_bytes: int) -> type:
    """A progress bar for the hub client that moves the meter, and stops when it says so."""
    from huggingface_hub.utils.tqdm import tqdm

    class MeterBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            quiet = {**options, "disable": True}
            super().__init__(*args, **quiet)  # type: ignore[no-untyped-call] # of tqdm
            self._seen = done_bytes + int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._seen += int(n or 0)
            meter.reach(self._seen)
            return None

    return MeterBar
