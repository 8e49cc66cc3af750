"""The kernel's log: a file that rotates, which also takes what goes to stderr."""

from __future__ import annotations

import io
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from lingos_kernel.config import Config

FILE_BYTES = 5_000_000
FILES_KEPT = 3
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class KernelLog(RotatingFileHandler):
    """A rotating log; if it takes stderr, that follows it from file to file.

    Tracebacks of a dying interpreter and words of child processes then end up in the log, too.
    """

    def __init__(self, path: Path, *, takes_stderr: bool) -> None:
        self._takes_stderr = takes_stderr
        super().__init__(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")

    def _open(self) -> io.TextIOWrapper:
        stream = super()._open()
        if self._takes_stderr:
            os.dup2(stream.fileno(), 2)
        return stream

    def reopen(self) -> None:
        """Open the file anew, after somebody moved it."""
        self.acquire()
        try:
            if self.stream is not None:
                self.stream.close()
            self.stream = self._open()
        finally:
            self.release()


def start_logging(config: Config, path: Path, *, detached: bool) -> KernelLog:
    """Log to the file, and to stderr as well unless that goes to the file anyway."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = KernelLog(path, takes_stderr=detached)
    handlers: list[logging.Handler] = [handler]
    if not detached:
        handlers.append(logging.StreamHandler(sys.stderr))
    level = config.kernel.log_level.upper()
    logging.basicConfig(level=level, format=FORMAT, handlers=handlers, force=True)
    logging.getLogger("uvicorn").setLevel(max(logging.getLevelName(level), logging.WARNING))
    return handler
