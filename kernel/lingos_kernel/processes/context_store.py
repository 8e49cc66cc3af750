"""All contexts, in one SQLite file (WAL): what was written survives `kill -9`; a fork is a row."""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import msgspec

from lingos_kernel.errors import Busy, InvalidArguments, LingOSError, UnknownContext
from lingos_kernel.names import did_you_mean
from lingos_kernel.processes import context_schema as sql
from lingos_kernel.processes.contexts import (
    ADMIN,
    Entry,
    Head,
    Loaded,
    Turn,
    assemble,
    check_at,
    check_name,
)
from lingos_kernel.queue.clock import Clock, SteadyClock
from lingos_kernel.queue.sqlite_writer import SqliteWriter
from lingos_kernel.security.principal import Principal

TURN_RETENTION_S = 7 * 86_400.0
"""How long a job's turn is remembered: as long as the record of the job."""


class ContextStore:
    """Contexts by tenant and name. Several kernels may share the file."""

    def __init__(self, path: Path, *, clock: Clock | None = None) -> None:
        """Open or make the file; raises `LingOSError`. `clock` gives Unix time."""
        self._now: Clock = clock or SteadyClock()
        self._path = path
        self._reserved: set[tuple[str, str]] = set()
        self._writer = SqliteWriter(path, sql.SCHEMA, sql.VERSION, what="file of contexts")

    async def close(self) -> None:
        """Finish what was asked, then close the file."""
        await self._writer.close()

    # Reading

    async def head(self, name: str, by: Principal) -> Head:
        """A context that `by` may read; raises `UnknownContext`, `NotPermitted`."""
        return await self._writer.run(lambda connection: _readable(connection, name, by))

    async def heads(self, by: Principal) -> list[Head]:
        """The contexts that `by` may read, by name."""

        def read(connection: sqlite3.Connection) -> list[Head]:
            heads = [_head(row) for row in connection.execute(sql.LIST, (by.tenant,))]
            sees_all = by.may(ADMIN)
            return [x for x in heads if sees_all or x.is_shared or x.owner == by.name]

        return await self._writer.run(read)

    async def load(self, name: str, by: Principal) -> Loaded:
        """A context that `by` may read, with all that it holds."""

        def load(connection: sqlite3.Connection) -> Loaded:
            head = _readable(connection, name, by)
            rows = connection.execute(sql.LINE, (head.node,)).fetchall()
            try:
                pieces = [(start, _tokens(data), _entries(e)) for _, start, data, e in rows[::-1]]
                conversation = assemble(pieces, head.length)
                is_whole = len(conversation.tokens) == head.length
            except (ValueError, IndexError, msgspec.MsgspecError):
                is_whole = False
            if not is_whole:
                raise LingOSError(
                    f"the context {name} is damaged in {self._path}",
                    hint="remove it, and open a saved copy (ctx.open)",
                )
            return Loaded(head, conversation, tuple((row[0], row[1]) for row in rows))

        return await self._writer.run(load)

    # Writing

    @contextmanager
    def reserved(self, head: Head) -> Iterator[None]:
        """Let nobody else in this kernel go on with a context while the block runs, else `Busy`."""
        key = (head.tenant, head.name)
        if key in self._reserved:
            raise Busy(
                f"another call goes on with the context {head.name}",
                hint="wait for it, or fork the context and go on with the fork",
                name=head.name,
            )
        self._reserved.add(key)
        try:
            yield
        finally:
            self._reserved.discard(key)

    async def create(
        self,
        name: str,
        by: Principal,
        *,
        model: str,
        model_id: str,
        tokens: Sequence[int] = (),
        entries: Sequence[Entry] = (),
        is_shared: bool = False,
    ) -> Head:
        """A new context; raises `InvalidArguments` when the name is taken or none."""
        check_name(name)
        now = self._now()
        head = Head(
            by.tenant, name, by.name, is_shared, model, model_id, None, len(tokens), "", now, now
        )

        def create(connection: sqlite3.Connection) -> Head:
            _check_free(connection, name, by)
            node = _add_node(connection, None, 0, tokens, entries) if tokens else None
            return _add(connection, replace(head, node=node))

        return await self._writer.run(create)

    async def fork(
        self, name: str, to: str, by: Principal, *, at: int | None = None, is_shared: bool = False
    ) -> Head:
        """A new context that holds what another does, up to a token; copies nothing."""
        check_name(to)

        def fork(connection: sqlite3.Connection) -> Head:
            source = _readable(connection, name, by)
            length = check_at(source, at)
            _check_free(connection, to, by)
            now = self._now()
            node = source.node if length else None
            fork = Head(
                by.tenant, to, by.name, is_shared, source.model, source.model_id, node, length,
                name, now, now,
            )  # fmt: skip
            return _add(connection, fork)

        return await self._writer.run(fork)

    async def extend(
        self,
        loaded: Loaded,
        by: Principal,
        *,
        start: int,
        tokens: Sequence[int],
        entries: Sequence[Entry],
        turn: Turn | None = None,
    ) -> Head:
        """Let a context go on with these tokens from `start`, where a message of it ends.

        With a `turn` it is remembered what came of it, see `turn`. Raises `Busy` when it was
        changed since it was loaded.
        """

        def extend(connection: sqlite3.Connection) -> Head:
            head = _writable(connection, loaded.head.name, by)
            if (head.node, head.length) != (loaded.head.node, loaded.head.length):
                raise Busy(
                    f"the context {head.name} was changed by somebody else meanwhile",
                    hint="try again, or fork it first",
                )
            node, length = loaded.node_at(start), start + len(tokens)
            if tokens:
                node = _add_node(connection, node, start, tokens, entries)
            if turn is not None:
                now = self._now()
                connection.execute(sql.FORGET_TURNS, (now - TURN_RETENTION_S,))
                values = (head.tenant, head.name, turn.key, turn.result, now)
                connection.execute(sql.ADD_TURN, values)
            return self._move(connection, head, node, length)

        return await self._writer.run(extend)

    async def turn(self, head: Head, key: str) -> bytes | None:
        """What came of a turn that the context holds already; None when it does not."""

        def read(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute(sql.GET_TURN, (head.tenant, head.name, key)).fetchone()
            return None if row is None else row[0]

        return await self._writer.run(read)

    async def truncate(self, name: str, at: int, by: Principal) -> Head:
        """Let a context end at a token."""

        def truncate(connection: sqlite3.Connection) -> Head:
            head = _writable(connection, name, by)
            length = check_at(head, at)
            node = head.node
            while node is not None:
                parent, start = connection.execute(sql.PARENT, (node,)).fetchone()
                if start < length:
                    break
                node = parent
            return self._move(connection, head, node, length)

        return await self._writer.run(truncate)

    async def share(self, name: str, is_shared: bool, by: Principal) -> Head:
        """Let the others of the tenant read and fork a context, or not any more."""

        def share(connection: sqlite3.Connection) -> Head:
            head = _writable(connection, name, by)
            connection.execute(sql.SHARE, (is_shared, head.tenant, name))
            return replace(head, is_shared=is_shared)

        return await self._writer.run(share)

    async def remove(self, name: str, by: Principal) -> None:
        """Forget a context; what its forks hold stays."""

        def remove(connection: sqlite3.Connection) -> None:
            head = _writable(connection, name, by)
            connection.execute(sql.REMOVE, (head.tenant, name))
            connection.execute(sql.REMOVE_TURNS, (head.tenant, name))
            _drop_unused(connection, head.node)

        await self._writer.run(remove)

    def _move(
        self, connection: sqlite3.Connection, head: Head, node: int | None, length: int
    ) -> Head:
        moved = replace(head, node=node, length=length, updated_s=self._now())
        connection.execute(sql.MOVE, (node, length, moved.updated_s, head.tenant, head.name))
        _drop_unused(connection, head.node)
        return moved


# Within a transaction


def _find(connection: sqlite3.Connection, name: str, by: Principal) -> Head:
    row = connection.execute(sql.GET, (by.tenant, name)).fetchone()
    if row is None:
        seen = connection.execute(sql.NAMES, (by.tenant, by.name, by.may(ADMIN)))
        raise UnknownContext(
            f"there is no context {name}",
            hint=did_you_mean(name, [row[0] for row in seen], otherwise="ctx.list lists them"),
            name=name,
        )
    return _head(row)


def _readable(connection: sqlite3.Connection, name: str, by: Principal) -> Head:
    head = _find(connection, name, by)
    head.check_readable(by)
    return head


def _writable(connection: sqlite3.Connection, name: str, by: Principal) -> Head:
    head = _find(connection, name, by)
    head.check_writable(by)
    return head


def _check_free(connection: sqlite3.Connection, name: str, by: Principal) -> None:
    if connection.execute(sql.GET, (by.tenant, name)).fetchone() is not None:
        raise InvalidArguments(
            f"there is a context {name} already", hint="remove it, or choose another name"
        )


def _add(connection: sqlite3.Connection, head: Head) -> Head:
    connection.execute(sql.ADD, astuple(head))
    return head


def _add_node(
    connection: sqlite3.Connection,
    parent: int | None,
    start: int,
    tokens: Sequence[int],
    entries: Sequence[Entry],
) -> int:
    data = array("I", tokens)
    if sys.byteorder == "big":
        data.byteswap()
    node = connection.execute(
        sql.ADD_NODE, (parent, start, data.tobytes(), msgspec.json.encode(entries))
    ).lastrowid
    assert node is not None
    return node


def _drop_unused(connection: sqlite3.Connection, node: int | None) -> None:
    """Delete a node that nobody needs any more, and those above it."""
    while node is not None:
        row = connection.execute(sql.DROP_UNUSED, {"node": node}).fetchone()
        node = row[0] if row else None


def _head(row: Sequence[Any]) -> Head:
    tenant, name, owner, is_shared, *rest = row
    return Head(tenant, name, owner, bool(is_shared), *rest)


def _tokens(data: bytes) -> array[int]:
    tokens = array("I")
    tokens.frombytes(data)
    if sys.byteorder == "big":
        tokens.byteswap()
    return tokens


def _entries(data: bytes) -> list[Entry]:
    return msgspec.json.decode(data, type=list[Entry])
