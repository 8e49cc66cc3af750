"""`lingos syscalls`: what can be called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_syscalls
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line, write_table
from lingos_shell.syscall_help import find_syscall, help_text
from lingos_shell.tables import plain_table

if TYPE_CHECKING:
    from rich.table import Table


@click.command("syscalls")
@click.argument("name", required=False, shell_complete=complete_syscalls)
@common_options
def command(invocation: Invocation, *, name: str | None) -> None:
    """List the syscalls, or explain one."""

    async def fetch(client: KernelClient) -> list[SyscallInfo]:
        return await client.syscalls()

    infos = invocation.run(fetch)
    if name is None:
        write_json(infos) if invocation.as_json else write_table(render(infos))
    else:
        info = find_syscall(infos, name)
        write_json(info) if invocation.as_json else write_line(help_text(info))


def render(infos: Iterable[SyscallInfo]) -> Table:
    """One row per syscall."""
    return plain_table(
        ("NAME", "SUMMARY", "OWNER"), [(info.name, info.summary, info.owner) for info in infos]
    )
