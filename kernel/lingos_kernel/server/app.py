"""The ASGI application: the native API, made from the table of syscalls.

    GET    /v1/ping                    version, os_pid, started_s, ready
    GET    /v1/syscalls                every syscall that the caller may use
    GET    /v1/syscalls/{name}         one of them
    POST   /v1/call/{name}             arguments in, result or events out
    POST   /v1/calls/{call_id}/cancel
    POST   /v1/processes               open a process
    DELETE /v1/processes/{pid}         end it
    GET    /openapi.json               this, for machines

Other APIs and other ways to authenticate join in `create_app`: routes, and an `Authenticate`.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lingos_kernel import __version__
from lingos_kernel.client import wire
from lingos_kernel.errors import KernelUnavailable, LingOSError, UnknownName, to_wire
from lingos_kernel.server.answers import CallAnswer, LeaseAnswer, error_answer, json_answer
from lingos_kernel.server.openapi import openapi
from lingos_kernel.server.presence import Presence
from lingos_kernel.server.requests import (
    Authenticate,
    read_caller,
    read_object,
    read_options,
    socket_owner,
)

if TYPE_CHECKING:
    from lingos_kernel.kernel import Kernel


def create_app(
    booted: asyncio.Future[Kernel],
    presence: Presence,
    *,
    authenticate: Authenticate = socket_owner,
) -> Starlette:
    """The application of one kernel, which may still be on its way."""
    api = NativeApi(booted, presence, authenticate)
    return Starlette(
        routes=[
            Route("/v1/ping", api.ping, methods=["GET"]),
            Route("/v1/syscalls", api.list_syscalls, methods=["GET"]),
            Route("/v1/syscalls/{name:path}", api.describe_syscall, methods=["GET"]),
            Route("/v1/call/{name:path}", api.call, methods=["POST"]),
            Route("/v1/calls/{call_id}/cancel", api.cancel_call, methods=["POST"]),
            Route("/v1/processes", api.open_process, methods=["POST"]),
            Route("/v1/processes/{pid:int}", api.close_process, methods=["DELETE"]),
            Route("/openapi.json", api.describe, methods=["GET"]),
        ],
        exception_handlers={
            LingOSError: _answer_error,
            HTTPException: _answer_http_error,
            ClientDisconnect: _answer_nobody,
            Exception: _answer_fault,
        },
    )


class NativeApi:
    """The endpoints. Each finds out who calls before anything else."""

    def __init__(
        self, booted: asyncio.Future[Kernel], presence: Presence, authenticate: Authenticate
    ) -> None:
        self._booted = booted
        self._presence = presence
        self._authenticate = authenticate
        self._started_s = time.time()

    async def ping(self, request: Request) -> Response:
        """Say that there is a kernel, and whether it takes calls yet."""
        read_caller(request, self._authenticate)
        facts = {"version": __version__, "os_pid": os.getpid(), "started_s": self._started_s}
        return json_answer({**facts, "ready": self._booted.done()})

    async def list_syscalls(self, request: Request) -> Response:
        """Every syscall that the caller may use."""
        caller = read_caller(request, self._authenticate)
        kernel = await self._kernel()
        return json_answer(kernel.table.infos(caller))

    async def describe_syscall(self, request: Request) -> Response:
        """One syscall that the caller may use."""
        caller = read_caller(request, self._authenticate)
        kernel = await self._kernel()
        return json_answer(kernel.table.info(request.path_params["name"], caller))

    async def describe(self, request: Request) -> Response:
        """The OpenAPI document."""
        caller = read_caller(request, self._authenticate)
        kernel = await self._kernel()
        return json_answer(openapi(kernel.table.infos(caller)))

    async def call(self, request: Request) -> Response:
        """Run a syscall."""
        caller = read_caller(request, self._authenticate)
        options = read_options(request)
        arguments = await read_object(request)
        kernel = await self._kernel()
        self._refuse_when_closing()
        call = kernel.submit(
            caller,
            request.path_params["name"],
            arguments,
            pid=options.pid,
            priority=options.priority,
            confirmed=options.confirmed,
            timeout_s=options.timeout_s,
        )
        return CallAnswer(call, self._presence, streams=_wants_events(request))

    async def cancel_call(self, request: Request) -> Response:
        """End a call as cancelled."""
        caller = read_caller(request, self._authenticate)
        call_id = request.path_params["call_id"]
        kernel = await self._kernel()
        call = kernel.dispatcher.get(call_id)
        if call is None:
            raise UnknownName(f"no call {call_id} is in flight", hint="it may have ended already")
        kernel.processes.owned(call.pid, caller)
        call.cancel(f"cancelled by {caller.name}")
        return json_answer({"call_id": call_id})

    async def open_process(self, request: Request) -> Response:
        """Open a process; one that ends with the connection if events are asked for."""
        caller = read_caller(request, self._authenticate)
        wanted = wire.ProcessRequest.read(await read_object(request))
        kernel = await self._kernel()
        self._refuse_when_closing()
        processes = kernel.processes
        process = processes.open(caller, wanted.command, kind=wanted.kind, priority=wanted.priority)
        if _wants_events(request):
            return LeaseAnswer(process.pid, self._presence, processes.close)
        return json_answer({"pid": process.pid})

    async def close_process(self, request: Request) -> Response:
        """End a process of the caller's."""
        caller = read_caller(request, self._authenticate)
        pid = request.path_params["pid"]
        kernel = await self._kernel()
        kernel.processes.owned(pid, caller)
        kernel.processes.close(pid, f"closed by {caller.name}")
        return json_answer({"pid": pid})

    async def _kernel(self) -> Kernel:
        """The kernel, as soon as it is up; raises the error that it failed with."""
        return await asyncio.shield(self._booted)

    def _refuse_when_closing(self) -> None:
        if self._presence.closing.is_set():
            raise KernelUnavailable("the kernel is stopping", hint="try again in a few seconds")


def _wants_events(request: Request) -> bool:
    return wire.EVENTS in request.headers.get("accept", "")


# Errors: always JSON, always with a hint where there is one


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, LingOSError)
    return error_answer(error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """What the routes refuse: unknown paths and methods, bodies too long or of the wrong type."""
    assert isinstance(error, HTTPException)
    message = error.detail
    if error.status_code in (404, 405):
        message = f"there is no {request.method} {request.url.path}"
    body = {"code": "usage", "message": message, "hint": "see /openapi.json", "details": {}}
    return json_answer(body, status=error.status_code, headers=dict(error.headers or {}))


async def _answer_nobody(_: Request, __: Exception) -> Response:
    """The client left in the middle of its request; nobody reads this."""
    return Response(status_code=499)


async def _answer_fault(_: Request, error: Exception) -> Response:
    """A fault of the kernel's own; uvicorn logs it with its traceback."""
    return json_answer(to_wire(error), status=500)
