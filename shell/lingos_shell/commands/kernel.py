"""`lingos kernel`: the resident kernel's life."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lingos_kernel.errors import KernelUnavailable
from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import narrate, write, write_json, write_line
from lingos_shell.units import duration_text

if TYPE_CHECKING:
    from lingos_kernel.server.daemon import KernelStatus

FOLLOW_EVERY_S = 0.25


@click.group("kernel")
def command() -> None:
    """Start, stop and inspect the resident kernel.

    Commands that need a kernel start one by themselves; it stays until it is stopped, or idle
    for kernel.idle_exit_s seconds where that is set.
    """


@command.command("start")
@common_options
def start(invocation: Invocation) -> None:
    """Start the kernel in the background, unless it runs."""
    from lingos_kernel.server import daemon

    _write_status(daemon.start(invocation.config()), invocation)


@command.command("stop")
@common_options
def stop(invocation: Invocation) -> None:
    """Stop the kernel; running calls may end first, for a while."""
    from lingos_kernel.server import daemon

    stopped = daemon.stop(invocation.config())
    if invocation.as_json:
        write_json({"stopped": stopped})
    else:
        write_line("stopped" if stopped else "no kernel was running")


@command.command("status")
@common_options
def status(invocation: Invocation) -> None:
    """Say whether the kernel runs; exit code 3 when it does not."""
    from lingos_kernel.server import daemon

    found = daemon.status(invocation.config())
    if found.state == "stopped":
        raise KernelUnavailable("no kernel is running", hint="start one with `lingos kernel start`")
    _write_status(found, invocation)


@command.command("run")
@common_options
def run(invocation: Invocation) -> None:
    """Be the kernel, in the foreground, logging to stderr, until Ctrl-C."""
    from lingos_kernel.server import daemon

    daemon.run(invocation.config())


@command.command("logs")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=50, show_default=True,
              help="How many of the last lines.")  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are added, until Ctrl-C.")
@common_options
def logs(invocation: Invocation, *, lines: int, follow: bool) -> None:
    """Show the end of the kernel's log."""
    from lingos_kernel.client.launch import log_file

    path = log_file(invocation.config())
    if not path.exists():
        narrate(f"lingos: there is no log at {path} yet")
        if not follow:
            return
    write("".join(last_lines(path, lines)))
    if follow:
        for text in added_text(path):
            write(text)


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, with their line ends; none when it is not there."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return list(deque(file, maxlen=count))
    except FileNotFoundError:
        return []


def added_text(path: Path) -> Iterator[str]:
    """Text as it is added to a file from now on, for ever; begins anew when the file is rotated."""
    position = path.stat().st_size if path.exists() else 0
    identity = _identity(path)
    while True:
        if _identity(path) != identity:
            identity, position = _identity(path), 0
        if identity is not None:
            with path.open(encoding="utf-8", errors="replace") as file:
                file.seek(position)
                if text := file.read():
                    position = file.tell()
                    yield text
        time.sleep(FOLLOW_EVERY_S)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(path)  # noqa: PTH116  # one call for both numbers
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _write_status(status: KernelStatus, invocation: Invocation) -> None:
    if invocation.as_json:
        write_json(status)
    else:
        write_line(status_text(status, now_s=time.time()))


def status_text(status: KernelStatus, *, now_s: float) -> str:
    """A few lines: whether it runs, since when, and where its socket and log are."""
    facts: list[str] = [status.state]
    if status.os_pid is not None:
        facts.append(f"process {status.os_pid}")
    if status.version:
        facts.append(f"version {status.version}")
    if status.started_s is not None:
        facts.append(f"up {duration_text(max(now_s - status.started_s, 0.0))}")
    lines = [", ".join(facts), f"socket {status.socket}", f"log    {status.log}"]
    return "\n".join([*lines, f"warning: {status.warning}"] if status.warning else lines)
