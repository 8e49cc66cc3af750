"""Ctrl-C: the first cancels the call, the second leaves at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WORK = """
import asyncio, sys
from lingos_shell.runner import run_interruptible

async def work():
    print("working", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)
        if {stubborn}:
            await asyncio.Event().wait()

try:
    run_interruptible(work())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("stubborn", [False, True])
def test_interrupts(stubborn: bool) -> None:
    """Cleaning up comes first; whoever presses again does not wait for it."""
    with subprocess.Popen(
        [sys.executable, "-c", WORK.format(stubborn=stubborn)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cancelled\n"
        if stubborn:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == ""
