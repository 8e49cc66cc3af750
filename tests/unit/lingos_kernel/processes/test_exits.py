"""Waiting for the end of processes."""

from __future__ import annotations

import asyncio

import pytest

from lingos_kernel.errors import CallTimeout, UnknownProcess
from lingos_kernel.processes import ProcessTable
from lingos_kernel.processes.exits import Exits
from lingos_kernel.security.principal import owner

ME = owner("me")


@pytest.fixture
def table() -> ProcessTable:
    """A table with the kernel in it."""
    return ProcessTable(ME, clock=lambda: 0.0)


async def test_everybody_who_waits_is_woken(table: ProcessTable) -> None:
    """Any number may wait for one process; all get it with the reason."""
    exits = Exits(table)
    pid = table.open(ME, "sh").pid
    waiting = [asyncio.create_task(exits.wait(pid)) for _ in range(3)]
    await asyncio.sleep(0)
    table.close(pid, "done")
    assert [p.ended_why for p in await asyncio.gather(*waiting)] == ["done"] * 3
    assert (await exits.wait(pid)).ended_why == "done", "it is remembered"


async def test_waiting_has_an_end(table: ProcessTable) -> None:
    """A time limit ends the wait alone; an unknown pid is told at once; leaving leaves nothing."""
    exits = Exits(table)
    pid = table.open(ME, "sh").pid
    with pytest.raises(CallTimeout, match="still there after 0 s"):
        await exits.wait(pid, timeout_s=0)
    with pytest.raises(UnknownProcess):
        await exits.wait(99)
    leaving = asyncio.create_task(exits.wait(pid))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert exits._waiting == {}
