"""What `@...` stands for: files, folders and patterns, URLs, and what plugins add.

A loader is an async function that takes what stands after `@name:` and returns text; the first
line of its docstring is its summary.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lingos_kernel.errors import DamagedFile, DownloadFailed, InvalidArguments, UnknownName
from lingos_kernel.names import did_you_mean
from lingos_shell.inputs import piped_input

if TYPE_CHECKING:
    import httpx

Load = Callable[[str], Awaitable[str]]

MAX_BYTES = 4 << 20
"""Of one `@...`, all its files together."""
MAX_FILES = 500
PROBE_BYTES = 8192
URL_TIMEOUT_S = 30.0


class Loaders:
    """Loaders by name; those of plugins are looked for when a name is not built in."""

    def __init__(self, plugged: Callable[[], Mapping[str, Load]] | None = None) -> None:
        """`plugged` imports the plugins and returns their loaders."""
        self._plugged = plugged
        self._known: dict[str, Load] = dict(BUILT_IN)
        self._has_asked = plugged is None

    async def load(self, what: str, name: str = "") -> str:
        """The text of `@what` or `@name:what`. Raises what the loader raises."""
        return await (await self.find(name or fitting(what)))(what)

    async def find(self, name: str) -> Load:
        """The loader of the name. Raises `UnknownName`."""
        known = self._known if name in self._known else await self.all()
        if name not in known:
            raise UnknownName(
                f"no loader is called {name}",
                hint=did_you_mean(name, known, otherwise=f"there are {', '.join(sorted(known))}"),
            )
        return known[name]

    async def all(self) -> Mapping[str, Load]:
        """Every loader by name, those of plugins too."""
        if not self._has_asked and self._plugged is not None:
            found = await asyncio.to_thread(self._plugged)
            self._known = {**found, **self._known}
            self._has_asked = True
        return self._known


def fitting(what: str) -> str:
    """The name of the loader of a bare `@what`."""
    return "url" if what.startswith(("http://", "https://")) else "file"


def is_there(what: str) -> bool:
    """Whether a bare `@what` names something that exists, or a URL."""
    return fitting(what) == "url" or what == "-" or bool(_paths(what, limit=1))


async def load_file(what: str) -> str:
    """Text files: one, all of a folder, or those that match a pattern; - is standard input."""
    if what == "-":
        return await asyncio.to_thread(piped_input) or ""
    return await asyncio.to_thread(_read, what)


async def load_url(what: str) -> str:
    """The text of a web page or file on the network."""
    import httpx

    try:
        async with (
            httpx.AsyncClient(follow_redirects=True, timeout=URL_TIMEOUT_S) as client,
            client.stream("GET", what) as response,
        ):
            response.raise_for_status()
            return _decoded(await _body(response, what), what)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadFailed(
            f"cannot fetch {what}: {str(error) or type(error).__name__}",
            hint="check the address and the network",
        ) from None


async def _body(response: httpx.Response, what: str) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_BYTES:
            raise _too_long(what)
    return bytes(content)


def _read(what: str) -> str:
    paths = _paths(what, limit=MAX_FILES + 1)
    if not paths:
        raise InvalidArguments(
            f"@{what} names no file", hint="Tab completes names; @@ is a plain @"
        )
    if len(paths) > MAX_FILES:
        raise InvalidArguments(
            f"@{what} names more than {MAX_FILES} files", hint="give a narrower pattern"
        )
    if len(paths) == 1 and paths[0] == Path(what).expanduser():
        return _decoded(_content(paths[0], MAX_BYTES), what)
    left, parts = MAX_BYTES, []
    for path in paths:
        content = _content(path, left)
        left -= len(content)
        if b"\0" not in content[:PROBE_BYTES]:  # pictures and the like in a folder are passed over
            parts.append(f"{path}:\n{_decoded(content, str(path))}")
    return "\n\n".join(parts)


def _paths(what: str, *, limit: int) -> list[Path]:
    path = Path(what).expanduser()
    try:
        if path.is_dir():
            return _first(_files_below(path), limit)
        if path.exists():
            return [path]
    except OSError:  # a name that the system cannot have
        return []
    if not any(mark in what for mark in "*?["):
        return []
    root = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
    try:
        found = sorted(each for each in root.glob(pattern) if each.is_file())
    except (ValueError, NotImplementedError):
        return []
    return _first(iter(found), limit)


def _files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and those below it, in order, hidden ones left out."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        yield from (Path(root) / name for name in sorted(files) if not name.startswith("."))


def _first(paths: Iterator[Path], limit: int) -> list[Path]:
    return [path for path, _ in zip(paths, range(limit), strict=False)]


def _content(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InvalidArguments(
            f"cannot read {path}: {(error.strerror or str(error)).lower()}",
            hint="give a file that you may read",
        ) from None
    if len(content) > limit:
        raise _too_long(str(path))
    return content


def _too_long(what: str) -> InvalidArguments:
    return InvalidArguments(
        f"@{what} is more than {MAX_BYTES >> 20} MiB",
        hint="give less of it, for example `!head -c 100000 FILE | ...`",
    )


def _decoded(content: bytes, what: str) -> str:
    if b"\0" in content[:PROBE_BYTES]:
        raise DamagedFile(f"@{what} is no text: it is binary", hint="convert it to text first")
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DamagedFile(
            f"@{what} is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}",
            hint="convert it first, for example with `iconv -f LATIN1 -t UTF-8`",
        ) from None


BUILT_IN: Mapping[str, Load] = {"file": load_file, "url": load_url}
