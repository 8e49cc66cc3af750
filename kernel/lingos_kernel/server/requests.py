"""Reading requests: who calls, with which options, and the JSON of the body."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, get_args

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from lingos_kernel.client import wire
from lingos_kernel.client.peer import user_name
from lingos_kernel.client.protocol import CallOptions
from lingos_kernel.errors import InvalidArguments, NotAuthenticated, UsageError
from lingos_kernel.security.principal import CallerKind, Principal, owner

Authenticate = Callable[[Request], Principal]
"""Who sent a request; raises `NotAuthenticated`."""

N = TypeVar("N", int, float)

INSIDERS = frozenset({"model", "plugin", "kernel"})
"""Kinds that only the kernel itself gives to a caller."""
CALLERS: dict[str, CallerKind] = {k: k for k in get_args(CallerKind) if k not in INSIDERS}
YES, NO = frozenset({"yes", "true", "1"}), frozenset({"no", "false", "0", ""})


def socket_owner(request: Request) -> Principal:
    """The user who runs the kernel, when the operating system says that it is the same one."""
    uid = os.getuid()
    if getattr(request.state, "peer_uid", None) != uid:
        raise NotAuthenticated(
            "this kernel belongs to another user",
            hint="start your own: `lingos kernel start`",
        )
    return owner(user_name(uid))


def read_caller(request: Request, authenticate: Authenticate) -> Principal:
    """The principal of a request, of the kind that it says it is."""
    principal = authenticate(request)
    kind = request.headers.get(wire.CALLER, "http")
    if kind not in CALLERS:
        raise InvalidArguments(
            f"the header {wire.CALLER} is {kind!r}", hint=f"use one of {', '.join(CALLERS)}"
        )
    return replace(principal, kind=CALLERS[kind])


def read_options(request: Request) -> CallOptions:
    """The options in a request's headers."""
    return CallOptions(
        pid=_read_number(request, wire.PID, int),
        priority=_read_number(request, wire.PRIORITY, int),
        confirmed=_read_flag(request, wire.CONFIRMED),
        timeout_s=_read_timeout(request),
    )


def _read_number(request: Request, header: str, kind: Callable[[str], N]) -> N | None:
    text = request.headers.get(header)
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        raise InvalidArguments(f"the header {header} is {text!r}", hint="use a number") from None


def _read_timeout(request: Request) -> float | None:
    timeout_s = _read_number(request, wire.TIMEOUT, float)
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidArguments(f"a time limit of {timeout_s} s", hint="use a number above 0")
    return timeout_s


def _read_flag(request: Request, header: str) -> bool:
    text = request.headers.get(header, "").lower()
    if text not in YES | NO:
        raise InvalidArguments(f"the header {header} is {text!r}", hint="use yes or no")
    return text in YES


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object of the body; nothing at all is an empty one.

    Raises `UsageError` for anything else, and 413 and 415 answers.
    """
    body = await _read_body(request)
    if not body:
        return {}
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != wire.JSON:
        raise HTTPException(415, f"the content type is {content_type!r}; send {wire.JSON}")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.ValidationError as error:
        raise UsageError(f"the body is no JSON object: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}", hint="send UTF-8 JSON") from error


async def _read_body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > wire.MAX_BODY_BYTES:
            raise HTTPException(
                413,
                f"the body is longer than {wire.MAX_BODY_BYTES} bytes",
                headers={"connection": "close"},
            )
        parts.append(part)
    return b"".join(parts)
