"""`lingos chat`: another name for `lingos sh`."""

from __future__ import annotations

import click

from lingos_shell.commands import sh

command = click.Command(
    "chat",
    callback=sh.command.callback,
    params=sh.command.params,
    help="Another name for sh.",
)
