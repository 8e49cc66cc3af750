"""Which plugins a person has turned on or off, kept over restarts, for kernel and front ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lingos_kernel.errors import ConfigError
from lingos_kernel.paths import Paths

FILE_NAME = "plugins.json"
"""In the data folder."""


class Switched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds: names of plugins."""

    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


class PluginSwitches:
    """Says which plugins to load; a change is on disk when the method returns."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path nothing is switched, and nothing can be."""
        self._path = path
        self._change = threading.Lock()

    @classmethod
    def at(cls, paths: Paths) -> PluginSwitches:
        """Those of a user."""
        return cls(paths.data_dir / FILE_NAME)

    def read(self) -> Switched:
        """What is switched now. Raises `ConfigError` for a file that cannot be read."""
        if self._path is None:
            return Switched()
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Switched)
        except FileNotFoundError:
            return Switched()
        except (OSError, msgspec.DecodeError) as error:
            raise ConfigError(
                f"{self._path} cannot be read: {error}",
                hint="mend or remove it; `lingos plugins` then shows all that are installed",
            ) from error

    def turn(self, name: str, *, on: bool) -> None:
        """Load a plugin from now on, or no more. Raises `ConfigError`."""
        with self._change:
            now = self.read()
            add = {name} if on else set()
            off = {name} - add
            changed = Switched(
                tuple(sorted({*now.on, *add} - off)), tuple(sorted({*now.off, *off} - add))
            )
            self._write(changed)

    def wanted(
        self, setting: tuple[str, ...] | None, installed: Iterable[str]
    ) -> tuple[str, ...] | None:
        """Names to load: those of the setting `plugins.load`, as changed by the switches.

        None stands for all. An empty setting turns all off, whatever the switches say: so a kernel
        can be started without any. Raises `ConfigError`.
        """
        switched = self.read()
        if setting == () or not (switched.on or switched.off):
            return setting
        names = tuple(installed)
        base = names if setting is None else setting
        more = tuple(name for name in switched.on if name in names and name not in base)
        return tuple(dict.fromkeys(n for n in (*base, *more) if n not in switched.off))

    def _write(self, switched: Switched) -> None:
        if self._path is None:
            raise ConfigError("there is no file to keep this in", hint="give the host its switches")
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_bytes(msgspec.json.encode(switched))
            temporary.replace(self._path)
        except OSError as error:
            raise ConfigError(
                f"{self._path} cannot be written: {error}", hint="is there room on the disk?"
            ) from error
