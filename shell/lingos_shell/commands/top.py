"""`lingos top`: the kernel's snapshot, once or again and again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.invocation import Invocation, common_options
from lingos_shell.output import is_terminal, write_json, write_json_line, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lingos_kernel.telemetry.snapshot import Snapshot


@click.command("top")
@click.option("--once", is_flag=True, help="Write one picture and leave.")
@click.option(
    "-d",
    "--interval",
    "interval_s",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two pictures.",
)
@common_options
def command(invocation: Invocation, *, once: bool, interval_s: float) -> None:
    """Watch the scheduler: who runs, who waits, where memory went.

    On a terminal the picture is redrawn in place until q or Ctrl-C. Elsewhere, and with --json,
    each picture is written after the last one (--json: one line each).
    """

    async def work(client: KernelClient) -> None:
        if once:
            snapshot = await fetch(client)
            write_json(snapshot) if invocation.as_json else _write(snapshot)
        elif invocation.as_json:
            async for snapshot in watch(client, interval_s):
                write_json_line(snapshot)
        elif is_terminal(sys.stdin) and is_terminal(sys.stdout):
            await _redraw(client, interval_s)
        else:
            async for snapshot in watch(client, interval_s):
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


async def _redraw(client: KernelClient, interval_s: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live

    from lingos_shell.picture import draw

    quit_pressed = asyncio.Event()
    with (
        _single_keys(quit_pressed),
        Live(console=Console(), screen=True, auto_refresh=False) as live,
    ):
        while not quit_pressed.is_set():
            live.update(Group(*draw(await fetch(client))), refresh=True)
            try:
                await asyncio.wait_for(quit_pressed.wait(), interval_s)
            except TimeoutError:
                continue


@contextmanager
def _single_keys(quit_pressed: asyncio.Event) -> Iterator[None]:
    """Within the block, pressing q sets the event; the terminal gets its settings back."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    settings = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def read_key() -> None:
        keys = os.read(descriptor, 64)
        if not keys or b"q" in keys.lower():
            quit_pressed.set()

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read_key)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
