"""The server: textual-serve behind a key, so that no other user or web page gets in."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from typing import Any

from aiohttp import web
from textual_serve.server import Server

from lingos_kernel.errors import LingOSError
from lingos_shell.output import narrate, write_line

COOKIE = "lingos_key"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalServer(Server):
    """Serves one command to whoever brings the key, from pages of its own alone."""

    def __init__(self, command: str, *, listening: socket, key: str) -> None:
        """`listening`: a bound socket of a loopback address."""
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self.origin = f"http://{shown}:{port}"
        super().__init__(command, host=host, port=port, title="LingOS", public_url=self.origin)
        self.key = key
        self._listening = listening

    @property
    def link(self) -> str:
        """What to open in a browser."""
        return f"{self.origin}/?key={self.key}"

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard())
        return app

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.headers.get("Origin", self.origin) != self.origin:
                raise web.HTTPForbidden(text="another page may not use this one\n")
            if request.headers.get("Host", "") != self.origin.removeprefix("http://"):
                raise web.HTTPForbidden(text="this server has another name\n")
            given = request.query.get("key") or request.cookies.get(COOKIE, "")
            if not secrets.compare_digest(given.encode(), self.key.encode()):
                raise web.HTTPForbidden(text="open the link that `lingos web` has printed\n")
            response = await handler(request)
            if "key" in request.query and not response.prepared:
                response.set_cookie(COOKIE, self.key, httponly=True, samesite="Strict")
            return response

        return guard

    async def on_startup(self, app: web.Application) -> None:  # noqa: ARG002  # their signature
        """Say where it is."""
        write_line(self.link)
        narrate("LingOS is in the browser at this link; Ctrl-C ends it")

    def initialize_logging(self) -> None:
        """Logging stays as it is."""

    def serve(self, debug: bool = False) -> None:
        """Serve until Ctrl-C."""
        self.debug = debug
        web.run_app(self._make_app(), sock=self._listening, print=None)


def listen(address: str, port: int) -> socket:
    """A bound socket; raises `LingOSError` where that port is taken."""
    listening = socket(AF_INET6 if ":" in address else AF_INET)
    listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        listening.bind((address, port))
        listening.listen()  # a link that is followed at once waits until the server is up
    except OSError as error:
        listening.close()
        raise LingOSError(
            f"{address} port {port} cannot be used: {error.strerror}",
            hint="--port 0 takes a free one",
        ) from error
    return listening


def command_line(*, is_readonly: bool, overrides: Mapping[str, Any]) -> str:
    """What runs for each browser window."""
    words = [sys.executable, "-m", "lingos_shell.web.window"]
    for key, value in overrides.items():
        words += ["--set", f"{key}={value}"]
    return shlex.join([*words, "--readonly"] if is_readonly else words)


def run(address: str, port: int, *, is_readonly: bool, overrides: Mapping[str, Any]) -> None:
    """Serve until Ctrl-C."""
    command = command_line(is_readonly=is_readonly, overrides=overrides)
    server = LocalServer(command, listening=listen(address, port), key=secrets.token_urlsafe(24))
    Path(server.statics_path).stat()  # an installation without its pages fails here
    server.serve()
