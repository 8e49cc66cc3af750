"""Answers that live as long as a call or a process does, and end it when the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from lingos_kernel.client import wire
from lingos_kernel.errors import LingOSError, QueueFull, to_wire
from lingos_kernel.syscalls.events import Failure, encode_event

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from lingos_kernel.server.presence import Presence
    from lingos_kernel.syscalls.call import Call


def json_answer(data: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer that is one JSON value."""
    return Response(msgspec.json.encode(data), status, headers, wire.JSON)


def error_answer(error: LingOSError, *, headers: dict[str, str] | None = None) -> Response:
    """The answer that carries an error: its HTTP status, and its wire form as the body."""
    headers = dict(headers or {})
    if isinstance(error, QueueFull):
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    return json_answer(to_wire(error), status=error.http_status, headers=headers)


class CallAnswer(Response):
    """Answers with a call's result, or with its events as they come."""

    def __init__(self, call: Call, presence: Presence, *, streams: bool) -> None:
        super().__init__()
        self._call = call
        self._presence = presence
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; the call is cancelled when the client leaves first."""
        watch = asyncio.create_task(_when_gone(receive, lambda: self._call.cancel(wire.GONE)))
        try:
            with self._presence.exchange():
                if self._streams and not isinstance(self._call.outcome, Failure):
                    await self._send_events(send)
                else:  # a call that was refused at once has a status to tell it by
                    await self._send_result(scope, receive, send)
        finally:
            watch.cancel()
            self._call.cancel(wire.GONE)

    async def _send_result(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {wire.CALL: self._call.call_id}
        try:
            answer = json_answer(await self._call.result(), headers=headers)
        except LingOSError as error:
            answer = error_answer(error, headers=headers)
        await answer(scope, receive, send)

    async def _send_events(self, send: Send) -> None:
        body = _Lines(send)
        await body.begin({wire.CALL: self._call.call_id})
        async with aclosing(self._call.events()) as events, body.heartbeats():
            async for event in events:
                await body.line(encode_event(event))
        await body.end()


class LeaseAnswer(Response):
    """Answers with a new process's pid, then stays open; the process ends when it closes."""

    def __init__(self, pid: int, presence: Presence, close: Callable[[int, str], None]) -> None:
        super().__init__()
        self._pid = pid
        self._presence = presence
        self._close = close

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer, and wait until the client leaves or the kernel stops."""
        body = _Lines(send)
        gone = asyncio.create_task(_when_gone(receive, lambda: None))
        stopping = asyncio.create_task(self._presence.closing.wait())
        try:
            await body.begin({})
            await body.line(msgspec.json.encode({"pid": self._pid}))
            await asyncio.wait({gone, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await body.end()
        finally:
            gone.cancel()
            stopping.cancel()
            self._close(self._pid, "its client left")


async def _when_gone(receive: Receive, act: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    act()


class _Lines:
    """A body of lines, sent one by one."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def begin(self, headers: dict[str, str]) -> None:
        pairs = {"content-type": wire.EVENTS, "cache-control": "no-store", **headers}
        encoded = [(key.encode(), value.encode()) for key, value in pairs.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": encoded})

    async def line(self, line: bytes) -> None:
        await self._send({"type": "http.response.body", "body": line + b"\n", "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def heartbeats(self) -> _Heartbeats:
        return _Heartbeats(self)


class _Heartbeats:
    """While entered, sends an empty line every few seconds."""

    def __init__(self, body: _Lines) -> None:
        self._body = body

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._beat())

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(wire.HEARTBEAT_S)
            await self._body.line(b"")
