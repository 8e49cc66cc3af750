"""The connection to the kernel: its states, and what it does in each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lingos_kernel.errors import KernelUnavailable, QueueFull
from lingos_shell.tui.link import GRACE_S, RETRY_S, KernelLink, LinkStatus


class Sleeper:
    """Sleeps that last no time; it remembers them, and ends the link after so many."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        """Remember, and go on."""
        self.slept.append(seconds)
        self.left -= 1
        if self.left <= 0:
            raise asyncio.CancelledError
        await asyncio.sleep(0)


async def states(kernel: Any, count: int, **options: Any) -> tuple[list[LinkStatus], Sleeper]:
    """What a link tells in so many sleeps."""
    told: list[LinkStatus] = []
    sleeper = Sleeper(count)
    link = KernelLink(
        kernel.connect, on_status=told.append, on_snapshot=lambda _: None, sleep=sleeper, **options
    )
    with pytest.raises(asyncio.CancelledError):
        await link.run()
    return told, sleeper


async def test_it_attaches_and_watches(kernel) -> None:
    """A snapshot per period."""
    told, sleeper = await states(kernel, 3, period_s=0.25)
    assert [status.state for status in told] == ["attached"]
    assert sleeper.slept == [0.25] * 3
    assert kernel.starts == [True]


async def test_it_waits_for_a_kernel_that_it_may_not_start(kernel) -> None:
    """`lingos top` starts none."""
    kernel.is_up = False
    told, sleeper = await states(kernel, 20, may_start=False)
    assert [status.state for status in told] == ["lost"]
    assert "waiting for one" in told[0].message
    assert set(kernel.starts) == {False}
    assert set(sleeper.slept) == {RETRY_S}


async def test_a_kernel_that_went_away_gets_a_grace(kernel) -> None:
    """It may come back by itself; then another one is started."""

    async def gone(**_: Any) -> None:
        kernel.is_up = False
        raise KernelUnavailable("it went away", reason="gone")

    kernel.call = lambda name, **_: gone()
    told, _ = await states(kernel, 12)
    assert [status.state for status in told][:2] == ["attached", "lost"]
    patient = round(GRACE_S / RETRY_S)
    assert kernel.starts[1 : 1 + patient] == [False] * patient
    assert kernel.starts[1 + patient] is True
    assert told[-1].message.startswith("the kernel went away")


async def test_a_full_kernel_is_no_lost_one(kernel) -> None:
    """A refused snapshot is told; the client stays, and the next one may come."""
    answers: list[Any] = [
        QueueFull("too many calls", retry_after_s=1.0),
        None,
        {"nonsense": 1},
        None,
    ]
    plain = kernel.call

    async def call(name: str, **arguments: Any) -> Any:
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            raise answer
        return await plain(name, **arguments) if answer is None else answer

    kernel.call = call
    told, _ = await states(kernel, 4)
    assert [status.state for status in told] == [
        "attached", "blind", "attached", "blind", "attached",
    ]  # fmt: skip
    assert "another version" in told[3].message
    assert kernel.starts == [True]
