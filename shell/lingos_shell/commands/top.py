"""`lingos top`: the kernel's snapshot, once or again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import is_screen, write_json, write_json_line, write_table

if TYPE_CHECKING:
    from lingos_kernel.telemetry.snapshot import Snapshot

INTERVAL_S = 1.0


@click.command("top")
@click.option("--once", is_flag=True, help="Write one picture and leave.")
@click.option(
    "-d",
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Time between two pictures: 0.25 on a whole screen, elsewhere 1.",
)
@click.option("--readonly", is_flag=True, help="Look, change nothing.")
@common_options
def command(
    invocation: Invocation, *, once: bool, interval_s: float | None, readonly: bool
) -> None:
    """Watch the scheduler: who runs, who waits, where memory went.

    On a terminal it is the scheduler of `lingos` on the whole screen: F1 there lists the keys, q
    leaves. Elsewhere, and with --json, each picture is written after the last one (--json: one
    line each).
    """
    if is_screen() and not (once or invocation.as_json):
        from lingos_shell.tui.start import start_top

        start_top(invocation, is_readonly=readonly, period_s=interval_s)
        return

    async def work(client: KernelClient) -> None:
        if once:
            snapshot = await fetch(client)
            write_json(snapshot) if invocation.as_json else _write(snapshot)
        elif invocation.as_json:
            async for snapshot in watch(client, interval_s or INTERVAL_S):
                write_json_line(snapshot)
        else:
            async for snapshot in watch(client, interval_s or INTERVAL_S):
                _write(snapshot)

    invocation.run(work, start=False)


async def fetch(client: KernelClient) -> Snapshot:
    """The kernel's state now."""
    import msgspec

    from lingos_kernel.telemetry.snapshot import Snapshot

    return msgspec.convert(await client.call("sys.snapshot"), Snapshot)


async def watch(client: KernelClient, interval_s: float) -> AsyncIterator[Snapshot]:
    """Snapshots, one per interval, for ever."""
    while True:
        yield await fetch(client)
        await asyncio.sleep(interval_s)


def _write(snapshot: Snapshot) -> None:
    from lingos_shell.picture import draw

    write_table(*draw(snapshot))
