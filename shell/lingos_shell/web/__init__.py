"""The terminal interface in a browser, served to this machine alone by textual-serve."""

from __future__ import annotations

from ipaddress import ip_address

from lingos_kernel.errors import InvalidArguments, LingOSError
from lingos_shell.invocation import Invocation


def serve(invocation: Invocation, *, host: str, port: int, is_readonly: bool) -> None:
    """Serve until Ctrl-C. Raises `InvalidArguments` for an address that others can reach."""
    address = own_address(host)
    invocation.config()  # what is wrong with the settings is told here, not in the browser
    try:
        from lingos_shell.web.server import run
    except ModuleNotFoundError as error:
        if error.name not in ("textual_serve", "aiohttp", "aiohttp_jinja2", "jinja2"):
            raise
        raise LingOSError(
            "the web mode needs textual-serve", hint='pip install "lingos[web]"'
        ) from None
    run(address, port, is_readonly=is_readonly, overrides=invocation.overrides)


def own_address(host: str) -> str:
    """The loopback address that a name stands for; raises `InvalidArguments` for any other."""
    name = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        is_own = ip_address(name).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise InvalidArguments(
            f"--host {host}: the web mode serves this machine alone",
            hint="take 127.0.0.1; from elsewhere: ssh -L 8321:127.0.0.1:8321 HOST",
        )
    return name
