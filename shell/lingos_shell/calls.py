"""Following a call from its first event to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import CallTimeout, KernelUnavailable, from_wire
from lingos_kernel.syscalls.events import Accepted, AnyEvent, Failure, Item, Progress, Result
from lingos_shell.progress import ProgressBars

OnItem = Callable[[Any], None]
OnEvent = Callable[[AnyEvent], None]


def ignore(_value: Any) -> None:
    """An `on_item` or `on_event` that wants nothing."""


async def follow(
    client: KernelClient,
    name: str,
    arguments: Mapping[str, Any],
    *,
    on_item: OnItem = ignore,
    on_event: OnEvent = ignore,
    timeout_s: float | None = None,
) -> Any:
    """Make a call and follow it; returns its result or raises the error it ended in.

    Progress is drawn on stderr when that is a terminal. `on_event` gets every event, `on_item`
    the data of the streamed ones. Leaving early, by an exception or the time limit, cancels the
    call in the kernel. Raises `CallTimeout` after `timeout_s`.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _follow(client, name, arguments, on_item, on_event)
    except TimeoutError:
        raise CallTimeout(
            f"{name} was ended after {timeout_s:g} s", hint="allow more with --timeout"
        ) from None


async def _follow(
    client: KernelClient,
    name: str,
    arguments: Mapping[str, Any],
    on_item: OnItem,
    on_event: OnEvent,
) -> Any:
    with ProgressBars() as bars:
        async with aclosing(client.stream(name, **arguments)) as events:
            async for event in events:
                on_event(event)
                match event:
                    case Progress():
                        bars.show(event)
                    case Item():
                        bars.hide()
                        on_item(event.data)
                    case Result():
                        return event.data
                    case Failure():
                        raise from_wire(event.error)
                    case Accepted():
                        pass
    raise KernelUnavailable(
        f"the kernel went away in the middle of {name}",
        hint="`lingos kernel logs` shows why; run the command again",
    )
