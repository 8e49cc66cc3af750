"""`lingos trace`: the calls of a process as they happen."""

from __future__ import annotations

from typing import Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.calls import follow
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_pids
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json_line, write_line
from lingos_shell.tables import printable
from lingos_shell.units import bytes_text, duration_text


@click.command("trace")
@click.argument("pid", type=int, shell_complete=complete_pids)
@click.option("-f", "--follow", "follows", is_flag=True, help="Its descendants too.")
@click.option("-n", "--lines", "limit", type=click.IntRange(min=1), help="Leave after so many.")
@common_options
def command(invocation: Invocation, *, pid: int, follows: bool, limit: int | None) -> None:
    """Watch the syscalls of a process live, until it ends.

    \b
    lingos trace 12
    lingos trace -f 12 --json | head -20
    """
    show = write_json_line if invocation.as_json else lambda line: write_line(line_text(line))
    arguments: dict[str, Any] = {"pid": pid, "follow": follows}
    if limit is not None:
        arguments["limit"] = limit

    async def watch(client: KernelClient) -> None:
        await follow(client, "proc.trace", arguments, on_item=show)

    invocation.run(watch, start=False)


def line_text(line: dict[str, Any]) -> str:
    """A line of a trace as people read it; nested calls stand further to the right."""
    if line["event"] == "dropped":
        return f"... {line['count']} lines were dropped"
    begin = f"{line['pid']} {'  ' * line['depth']}{line['syscall']}"
    if line["event"] == "begin":
        return printable(f"{begin}({arguments_text(line['arguments'])})")
    size = bytes_text(line["result_bytes"]) if line["outcome"] == "ok" else line["message"]
    waited = f", waited {duration_text(line['queued_s'])}" if line["queued_s"] >= 0.001 else ""
    took = duration_text(line["run_s"])
    return printable(f"{begin} = {line['outcome']} {size} <{took}{waited}>".replace("  <", " <"))


def arguments_text(arguments: Any) -> str:
    """Names alone, or names with their values."""
    if isinstance(arguments, dict):
        return ", ".join(f"{name}={value}" for name, value in arguments.items())
    return ", ".join(f"{name}=?" for name in arguments)
