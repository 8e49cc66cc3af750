"""The records of durable jobs, in one SQLite file; see `jobs` for what they promise."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lingos_kernel.errors import LingOSError, to_wire
from lingos_kernel.processes import job_schema as sql
from lingos_kernel.processes.jobs import (
    Beginning,
    JobRecord,
    JobRequest,
    JobState,
    beginning,
)
from lingos_kernel.queue.clock import Clock, SteadyClock
from lingos_kernel.queue.sqlite_writer import SqliteWriter
from lingos_kernel.security.principal import Principal

RETENTION_S = 7 * 86_400.0
"""How long the record of an ended job is kept, and its idempotency key with it."""


class JobStore:
    """Keeps every job until a while after its end. Several kernels may share the file."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        """Open or make the file; raises `LingOSError`. `clock` gives Unix time."""
        self.now: Clock = clock or SteadyClock()
        self._writer = SqliteWriter(path, sql.SCHEMA, sql.VERSION)

    async def close(self) -> None:
        """Finish what was asked, then close the file."""
        await self._writer.close()

    async def identity(self) -> str:
        """A text that no other file has."""

        def read(connection: sqlite3.Connection) -> str:
            connection.execute(sql.ADD_IDENTITY, (secrets.token_hex(8),))
            return str(connection.execute(sql.IDENTITY).fetchone()[0])

        return await self._writer.run(read)

    # Looking

    async def get(self, number: int) -> JobRecord | None:
        """The record of a job."""
        return await self._writer.run(lambda connection: _get(connection, number))

    async def newest(
        self,
        *,
        owner: Principal | None = None,
        state: JobState | None = None,
        queue: str | None = None,
        limit: int = 100,
    ) -> list[JobRecord]:
        """The newest records first, of everybody or one owner."""
        wanted = {
            "tenant": owner and owner.tenant,
            "owner": owner and owner.name,
            "state": state,
            "queue": queue,
            "limit": limit,
        }
        return await self._records(sql.NEWEST, wanted)

    async def live(self, *, after: int = 0, limit: int = 1000) -> list[JobRecord]:
        """Jobs that have not ended, by number, from the one after `after`."""
        return await self._records(sql.LIVE, (after, limit))

    async def queues(self) -> list[str]:
        """The queues with jobs that have not ended."""
        return await self._writer.run(
            lambda connection: [row[0] for row in connection.execute(sql.QUEUES)]
        )

    # A job's life

    async def add(self, request: JobRequest) -> tuple[JobRecord, bool]:
        """The record of a new job, or of the one that has its key; whether it is new."""
        return await self._writer.run(lambda connection: self._add(connection, request))

    async def forget(self, number: int) -> None:
        """Delete the record of a job."""
        await self._change(sql.FORGET, number)

    async def begin(
        self, number: int, round_: int, token: str
    ) -> tuple[Beginning, JobRecord | None]:
        """Begin an attempt under a claim, or end a job that is to have none any more."""

        def begin(connection: sqlite3.Connection) -> tuple[Beginning, JobRecord | None]:
            now = self.now()
            what = beginning(_get(connection, number), round_, now)
            if what == "run":
                connection.execute(sql.BEGIN, (token, now, number))
            elif what != "nothing":
                error = _given_up(what, number)
                connection.execute(sql.GIVE_UP, ("failed", now, error, number))
            return what, _get(connection, number)

        return await self._writer.run(begin)

    async def holds(self, number: int, token: str) -> bool:
        """Whether the attempt under the claim still counts."""

        def read(connection: sqlite3.Connection) -> bool:
            return connection.execute(sql.HOLDS, (number, token)).fetchone() is not None

        return await self._writer.run(read)

    async def succeed(self, number: int, token: str, result: Any) -> bool:
        """Record the result; False when the attempt no longer counts and nothing was changed."""
        body = msgspec.json.encode(result)
        return await self._change(sql.SUCCEED, "done", self.now(), body, number, token)

    async def fail(self, number: int, token: str, state: JobState, error: LingOSError) -> bool:
        """Record how an attempt ended, and the job with it; False as in `succeed`."""
        return await self._change(sql.FAIL, state, self.now(), _wire(error), number, token)

    async def retry(self, number: int, token: str, error: LingOSError) -> bool:
        """Record an error after which the job is tried again; False as in `succeed`."""
        return await self._change(sql.RETRY, _wire(error), number, token)

    async def release(self, number: int, token: str) -> bool:
        """Take an attempt back that the kernel's end broke off: it does not count."""
        return await self._change(sql.RELEASE, number, token)

    async def cancel(self, number: int) -> bool:
        """End a job that has not ended; False when it has."""
        return await self._change(sql.CANCEL, "cancelled", self.now(), number)

    async def restart(self, number: int) -> JobRecord | None:
        """Let a failed or cancelled job begin anew with all its attempts; None when it is not."""

        def restart(connection: sqlite3.Connection) -> JobRecord | None:
            now = self.now()
            done = connection.execute(sql.RESTART, (now, now, number)).rowcount
            return _get(connection, number) if done else None

        return await self._writer.run(restart)

    async def set_stopped(self, number: int, stopped: bool) -> None:
        """Whether the job is held; a later kernel holds it too."""
        await self._change(sql.SET_STOPPED, stopped, number)

    async def recover(self) -> int:
        """Nobody runs any job: let those that were running wait again; how many.

        Also forgets jobs that ended long ago.
        """

        def recover(connection: sqlite3.Connection) -> int:
            connection.execute(sql.FORGET_ENDED, (self.now() - RETENTION_S,))
            return connection.execute(sql.RECOVER).rowcount

        return await self._writer.run(recover)

    # Inside

    async def _records(self, statement: str, parameters: Any) -> list[JobRecord]:
        return await self._writer.run(
            lambda connection: [_record(row) for row in connection.execute(statement, parameters)]
        )

    async def _change(self, statement: str, *parameters: Any) -> bool:
        return await self._writer.run(
            lambda connection: connection.execute(statement, parameters).rowcount > 0
        )

    def _add(self, connection: sqlite3.Connection, request: JobRequest) -> tuple[JobRecord, bool]:
        key = (
            request.principal.tenant,
            request.principal.name,
            request.queue,
            request.idempotency_key or None,
        )
        now = self.now()
        times = (now, now + request.delay_s)
        added = connection.execute(sql.ADD, (*key, _encode(request), *times)).fetchone()
        found = added or connection.execute(sql.FIND_BY_KEY, key).fetchone()
        record = _get(connection, found[0])
        assert record is not None
        return record, added is not None


def _get(connection: sqlite3.Connection, number: int) -> JobRecord | None:
    row = connection.execute(sql.GET, (number,)).fetchone()
    return None if row is None else _record(row)


def _record(row: Sequence[Any]) -> JobRecord:
    number, round_, request, state, attempts, token, stopped, *rest = row
    return JobRecord(number, round_, _decode(request), state, attempts, token, bool(stopped), *rest)


def _given_up(what: Beginning, number: int) -> bytes:
    told = {
        "expired": "nobody began it before it expired",
        "exhausted": "the kernel died during its last attempt",
    }
    return _wire(
        LingOSError(
            f"job {number} has failed: {told[what]}", hint="`lingos job retry` starts it over"
        )
    )


def _wire(error: LingOSError) -> bytes:
    return msgspec.json.encode(to_wire(error))


_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], JobRequest] = msgspec.json.Decoder(JobRequest).decode
