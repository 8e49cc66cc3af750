"""What a source's text means: a catalogue name, `hf:...`, a folder, or a `.gguf` file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lingos_kernel.errors import InvalidArguments, UnknownModel
from lingos_kernel.models.catalogue import CatalogueEntry
from lingos_kernel.models.folder import FolderSource
from lingos_kernel.models.gguf import GgufSource
from lingos_kernel.models.hub import HubSource
from lingos_kernel.models.source import Source
from lingos_kernel.models.wheel import WheelSource

_HUB = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^:\s]+))?(:(?P<file>[^:\s]+\.gguf))?"
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def parse_source(
    text: str, catalogue: Mapping[str, CatalogueEntry], *, name: str | None = None
) -> Source | None:
    """The source that the text means, or None if it means none.

    `name` replaces the name that a folder or file would give. Raises InvalidArguments for a text
    that is nearly one.
    """
    if text in catalogue:
        return _from_entry(catalogue[text])
    if text.startswith("hf:"):
        return _from_hub(text, name=None)
    return _from_path(text, catalogue, name)


def unknown_model(name: str, known: Iterable[str]) -> UnknownModel:
    """The error for a name that nothing has, with the nearest names."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if near:
        hint = f"did you mean {', '.join(near)}?"
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        hint = f"for a repository of the Hugging Face hub: lingos pull hf:{name}"
    else:
        hint = f"known are {', '.join(names) or 'none'}; pull others with lingos pull SOURCE"
    return UnknownModel(f"no model is called {name!r}", hint=hint, near=near)


def _from_entry(entry: CatalogueEntry) -> Source:
    if entry.source.startswith("wheel:") and entry.files:
        return WheelSource(entry)
    if entry.source.startswith("hf:"):
        return _from_hub(entry.source, name=entry.name, entry=entry)
    raise InvalidArguments(
        f"the catalogue entry {entry.name} has the unusable source {entry.source!r}",
        hint="it must be wheel:NAME==VERSION with pinned files, or hf:ORG/NAME@REVISION",
    )


def _from_hub(text: str, *, name: str | None, entry: CatalogueEntry | None = None) -> HubSource:
    found = _HUB.fullmatch(text)
    if found is None:
        raise InvalidArguments(
            f"{text!r} is not a source on the hub",
            hint="write hf:ORG/NAME, hf:ORG/NAME@REVISION or hf:ORG/NAME:FILE.gguf",
        )
    repo, file = found["repo"], found["file"] or ""
    of_file = f"{repo.split('/')[0]}/{_as_name(Path(file).stem)}" if file else repo
    return HubSource(
        repo=repo,
        revision=found["revision"] or "main",
        file=file,
        name=name or of_file,
        pinned=entry.files if entry else (),
        licence=entry.licence if entry else "",
    )


def _from_path(
    text: str, catalogue: Mapping[str, CatalogueEntry], name: str | None
) -> Source | None:
    path = Path(text).expanduser()
    is_path_like = text.startswith((".", "/", "~")) or text.endswith(".gguf")
    if not is_path_like and not path.exists():
        return None
    path = path.resolve()
    if not path.exists():
        raise InvalidArguments(f"there is no file or folder {path}", hint="check the path")
    name = name or _as_name(path.stem if path.is_file() else path.name)
    if name in catalogue:
        raise InvalidArguments(
            f"the name {name} belongs to a model of the catalogue",
            hint="store it under another name: --alias NAME",
        )
    if path.is_dir():
        return FolderSource(path, name)
    if path.suffix == ".gguf":
        return GgufSource(path, name)
    raise InvalidArguments(
        f"{path} is not a model", hint="name a folder in the Hugging Face layout or a .gguf file"
    )


def _as_name(text: str) -> str:
    """A file's or folder's name, as a model's name."""
    return re.sub(r"-+", "-", _NOT_IN_NAMES.sub("-", text)).strip("-._") or "model"
