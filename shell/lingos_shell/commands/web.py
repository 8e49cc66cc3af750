"""`lingos web`: the terminal interface in a browser on this machine."""

from __future__ import annotations

import click

from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation


@click.command("web")
@click.option("--host", default="127.0.0.1", show_default=True, help="This machine's own address.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8321, show_default=True,
              help="0: any that is free.")  # fmt: skip
@click.option("--readonly", is_flag=True, help="Look, change nothing.")
@common_options
def command(invocation: Invocation, *, host: str, port: int, readonly: bool) -> None:
    """Show the terminal interface in a browser on this machine.

    Only this machine can reach it, and only who has the link that is printed: whoever has it can
    do what you can.
    """
    from lingos_shell.web import serve

    serve(invocation, host=host, port=port, is_readonly=readonly)
