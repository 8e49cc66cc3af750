"""`lingos ps`, `kill`, `nice`, `limit` and `wait`: the kernel's processes."""

from __future__ import annotations

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import InvalidArguments
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_pids
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line, write_table
from lingos_shell.process_table import Process, process_table

SIGNALS = ("TERM", "KILL", "STOP", "CONT")


@click.command("ps")
@click.option("-t", "--tree", "is_tree", is_flag=True, help="Indent children below their parents.")
@click.option("-a", "--all", "with_ended", is_flag=True, help="Also show processes that ended.")
@common_options
def ps_command(invocation: Invocation, *, is_tree: bool, with_ended: bool) -> None:
    """List the kernel's processes."""

    async def fetch(client: KernelClient) -> list[Process]:
        rows: list[Process] = await client.call("proc.list")
        return [row for row in rows if with_ended or row["state"] != "ended"]

    rows = invocation.run(fetch, start=False)
    write_json(rows) if invocation.as_json else write_table(process_table(rows, is_tree=is_tree))


class SignalCommand(click.Command):
    """Takes `-KILL 12` as `-s KILL 12`, as kill(1) does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite a signal given as a flag."""
        plain = {f"-{form}": name for name in SIGNALS for form in (name, f"SIG{name}")}
        words = [part for a in args for part in (("-s", plain[a]) if a in plain else (a,))]
        return super().parse_args(ctx, words)


@click.command("kill", cls=SignalCommand)
@click.argument("pids", nargs=-1, required=True, type=int, shell_complete=complete_pids)
@click.option(
    "-s",
    "--signal",
    "signal_name",
    type=click.Choice(SIGNALS, case_sensitive=False),
    default="TERM",
    show_default=True,
    help="TERM cancels its calls, KILL also ends it, STOP pauses it, CONT lets it go on.",
)
@common_options
def kill_command(invocation: Invocation, *, pids: tuple[int, ...], signal_name: str) -> None:
    """End, pause or resume processes.

    \b
    lingos kill 12
    lingos kill -STOP 12 13
    """

    async def send(client: KernelClient) -> None:
        for pid in pids:
            await client.call("proc.kill", pid=pid, signal=signal_name)

    invocation.run(send, start=False)
    if invocation.as_json:
        write_json({"signal": signal_name, "pids": list(pids)})


@click.command("nice", context_settings={"ignore_unknown_options": True})
@click.argument("pid", type=int, shell_complete=complete_pids)
@click.argument("priority", type=int)
@common_options
def nice_command(invocation: Invocation, *, pid: int, priority: int) -> None:
    """Change a process's priority.

    -20 is the most urgent, 19 the least. The priority orders its waiting calls, and decides who
    is preempted and whose memory goes first; at once, also for what is running.
    """
    if not -20 <= priority <= 19:
        raise InvalidArguments(
            f"priority {priority} is out of range", hint="-20 is the most urgent, 19 the least"
        )

    async def renice(client: KernelClient) -> None:
        await client.call("proc.nice", pid=pid, priority=priority)

    invocation.run(renice, start=False)
    if invocation.as_json:
        write_json({"pid": pid, "priority": priority})
    else:
        write_line(f"process {pid} has priority {priority}")


@click.command("limit")
@click.argument("pid", type=int, shell_complete=complete_pids)
@click.option("--tokens", type=click.IntRange(min=0), help="Prompt and output tokens.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Seconds of its calls, added up.")
@click.option("--tool-calls", type=click.IntRange(min=0), help="Calls that the model makes.")
@click.option("--pages", type=click.IntRange(min=0), help="KV pages held at one time.")
@common_options
def limit_command(invocation: Invocation, /, *, pid: int, **limits: float | None) -> None:
    """Set what a process may use.

    A limit that is not given is lifted; without any the process has none.

    \b
    lingos limit 12 --tokens 20000 --seconds 600
    """

    async def limit(client: KernelClient) -> Process:
        done: Process = await client.call("proc.limit", pid=pid, **limits)
        return done

    done = invocation.run(limit, start=False)
    if invocation.as_json:
        write_json(done)
        return
    given = [f"{value:g} {name.replace('_', ' ')}" for name, value in limits.items()
             if value is not None]  # fmt: skip
    write_line(f"process {pid} may use {', '.join(given) if given else 'what it wants'}")


@click.command("wait")
@click.argument("pid", type=int, shell_complete=complete_pids)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait at most so long (exit code 4).",
)
@common_options
def wait_command(invocation: Invocation, *, pid: int, timeout_s: float | None) -> None:
    """Wait until a process has ended, and say why."""

    async def wait(client: KernelClient) -> Process:
        ended: Process = await client.call("proc.wait", pid=pid, timeout_s=timeout_s)
        return ended

    ended = invocation.run(wait, start=False)
    if invocation.as_json:
        write_json(ended)
    else:
        write_line(f"process {pid} has ended ({ended['ended_why']})")
