"""`> file` and `>> file`: checked before the work begins, written whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_shell.language.values import text_of


@dataclass(frozen=True, slots=True)
class Target:
    """A file that a result goes to."""

    path: Path
    is_appending: bool

    @classmethod
    def check(cls, name: str, *, is_appending: bool) -> Target:
        """The target of the name, when it can be written. Raises `InvalidArguments`."""
        path = Path(name).expanduser()
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        folder = path.parent
        if not name or path.is_dir():
            raise _cannot(name, "it is a folder" if name else "it has no name")
        if not folder.is_dir():
            raise _cannot(name, f"there is no folder {folder}")
        writable = path if path.exists() else folder
        if not os.access(writable, os.W_OK):
            raise _cannot(name, "permission denied")
        return cls(path, is_appending)

    def write(self, value: Any) -> int:
        """Write a value; returns the bytes. What was there stays when it fails.

        Files called .json and .jsonl get JSON, others text. Raises `InvalidArguments`.
        """
        return self.write_text(self._content(value))

    def write_text(self, text: str) -> int:
        """Write a text as it is; see `write`."""
        content = text.encode("utf-8", errors="surrogateescape")
        try:
            if self.is_appending or not self._is_regular():
                self._append(content)
            else:
                self._replace(content)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise _cannot(str(self.path), why, hint="what was there is untouched") from None
        return len(content)

    def _content(self, value: Any) -> str:
        match self.path.suffix:
            case ".json":
                return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
            case ".jsonl":
                rows = value if isinstance(value, list) else [value]
                return "".join(f"{json.dumps(r, ensure_ascii=False, default=str)}\n" for r in rows)
        text = text_of(value)
        return text if text.endswith("\n") or not text else text + "\n"

    def _is_regular(self) -> bool:
        return not self.path.exists() or stat.S_ISREG(self.path.stat().st_mode)

    def _append(self, content: bytes) -> None:
        with self.path.open("ab" if self.is_appending else "wb", buffering=0) as file:
            before = file.tell() if file.seekable() else None
            try:
                view = memoryview(content)
                while view:
                    view = view[file.write(view) or 0 :]
            except OSError:
                if before is not None:
                    file.truncate(before)
                raise

    def _replace(self, content: bytes) -> None:
        mode = self.path.stat().st_mode if self.path.exists() else 0o666 & ~_umask()
        descriptor, temporary = tempfile.mkstemp(
            prefix=f".{self.path.name[:50]}.", dir=self.path.parent
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, stat.S_IMODE(mode))  # noqa: PTH101  # a name, as mkstemp gave it
            os.replace(temporary, self.path)  # noqa: PTH105
        except BaseException:
            os.unlink(temporary)  # noqa: PTH108
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot(
    name: str, why: str, *, hint: str = "give a file that you may write"
) -> InvalidArguments:
    return InvalidArguments(
        f"cannot write {name or 'the file'}: {why}",
        hint=hint,
    )
