"""`audit.*`: read the audit log and check its chain; `sys.log`: read the kernel's own log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import LingOSError
from lingos_kernel.paths import LOG_NAME
from lingos_kernel.security.audit_chain import Verification, verify
from lingos_kernel.syscalls.spec import syscall
from lingos_kernel.telemetry.tail import FileTail

DAY_S = 86_400.0
LOOK_S = 0.25
"""Between two looks for new lines; the audit log itself is written five times a second."""
TRIES = 3

Limit = Annotated[int, Field(ge=0, le=5_000, description="how many of the last lines")]
Follow = Annotated[bool, Field(description="go on with new lines, until cancelled")]
Without = Annotated[list[str], Field(description="syscalls whose records are left out")]
SEARCHED = 100_000
"""Lines that are looked through where some are left out."""


class AuditSyscalls:
    """What happened."""

    def __init__(self, services: Services) -> None:
        self._audit = services.audit
        self._log_path = services.config.paths.state_dir / LOG_NAME

    @syscall("audit.tail", cost="io", timeout_s=DAY_S)
    async def tail(
        self,
        limit: Limit = 200,
        follow: Follow = False,
        without: Without = [],  # noqa: B006  # a schema shows it; nobody changes it
    ) -> AsyncIterator[Any]:
        """Stream the last records of the audit log: who called what, how it ended, how long."""
        file, left_out = FileTail(self._audit.path), frozenset(without)
        for record in await asyncio.to_thread(_last_records, file, limit, left_out):
            yield record
        while follow:
            await asyncio.sleep(LOOK_S)
            for record in _records(await asyncio.to_thread(file.new), left_out):
                yield record

    @syscall("audit.verify", cost="io", timeout_s=3_600)
    async def verify(self) -> dict[str, Any]:
        """Check that no record of the audit log was changed, removed or put in."""
        await asyncio.to_thread(self._audit.flush)
        found = await asyncio.to_thread(self._verify)
        stats = self._audit.stats()
        return {**asdict(found), "file": str(self._audit.path), "write_error": stats.error}

    @syscall("sys.log", cost="io", timeout_s=DAY_S)
    async def log(self, limit: Limit = 200, follow: Follow = False) -> AsyncIterator[Any]:
        """Stream the last lines of the kernel's log."""
        async for line in _lines(FileTail(self._log_path), limit, follow):
            yield {"text": line.decode("utf-8", "replace")}

    def _verify(self) -> Verification:
        """As `verify`; looks again where a line is cut off: it may be just being written."""
        for _ in range(TRIES):
            try:
                found = verify(self._audit.path)
            except OSError as error:
                raise LingOSError(
                    f"the audit log cannot be read: {error}", hint="may you read its folder?"
                ) from error
            is_end = found.reason == "the line is cut off"
            if not (is_end and found.bad_file == self._audit.path.name):
                break
            self._audit.flush()
        return found


def _last_records(file: FileTail, limit: int, left_out: frozenset[str]) -> list[dict[str, Any]]:
    lines = file.last(SEARCHED if left_out else limit)
    return list(_records(lines, left_out))[-limit:] if limit else []


def _records(lines: Iterable[bytes], left_out: frozenset[str]) -> Iterator[dict[str, Any]]:
    return (record for record in map(_record, lines) if record.get("syscall") not in left_out)


async def _lines(tail: FileTail, limit: int, follow: bool) -> AsyncIterator[bytes]:
    for line in await asyncio.to_thread(tail.last, limit):
        yield line
    while follow:
        await asyncio.sleep(LOOK_S)
        for line in await asyncio.to_thread(tail.new):
            yield line


def _record(line: bytes) -> dict[str, Any]:
    """A line of the log as data; one that is none says so."""
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        return {"broken": f"{error}", "text": line.decode("utf-8", "replace")}
