"""The terminal interface's connection to the kernel: it starts one, loses it, finds it again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lingos_kernel.errors import KernelUnavailable, LingOSError

if TYPE_CHECKING:
    from lingos_kernel.client.protocol import KernelClient
    from lingos_kernel.telemetry.snapshot import Snapshot

LinkState = Literal["starting", "attached", "blind", "lost"]
"""blind: attached, but the kernel gives no snapshot (it is full, or of another version)."""
Connect = Callable[[bool], Awaitable["KernelClient"]]
"""Makes a client; the argument says whether a kernel may be started."""

PERIOD_S = 0.25
"""Between two snapshots: 4 Hz."""
RETRY_S = 0.5
GRACE_S = 3.0
"""So long a kernel that went away may come back by itself; then another one is started."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the connection stands, for people."""

    state: LinkState
    message: str
    restarts: int = 0
    """How often the kernel was found again after it had gone."""


class KernelLink:
    """Keeps one client attached; whoever needs it awaits `client()`.

    `run()` ends only when it is cancelled. Between attaching and losing it delivers a snapshot
    every `period_s` seconds. Callbacks run in the event loop.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        on_status: Callable[[LinkStatus], None],
        on_snapshot: Callable[[Snapshot], None],
        may_start: bool = True,
        command: str = "lingos",
        period_s: float = PERIOD_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`may_start`: start a kernel when none runs; `command` names our process there."""
        self._connect = connect
        self._on_status = on_status
        self._on_snapshot = on_snapshot
        self._may_start = may_start
        self._command = command
        self._period_s = period_s
        self._sleep = sleep
        self._entered: KernelClient | None = None
        """What is left at the end; `_client` is a view of it."""
        self._client: KernelClient | None = None
        self._attached = asyncio.Event()
        self._apart = asyncio.Event()
        self._apart.set()
        self._changed = asyncio.Event()
        self._restarts = 0
        self.pid: int | None = None
        """Of our process in the kernel that was attached last."""
        self.status = LinkStatus("starting", "starting kernel …")

    async def client(self) -> KernelClient:
        """The client, as soon as it is attached."""
        await self._attached.wait()
        assert self._client is not None
        return self._client

    async def lost(self) -> None:
        """Returns as soon as no kernel is attached."""
        await self._apart.wait()

    async def another(self, restarts: int) -> None:
        """Wait for a connection after that one which had seen so many restarts."""
        while self.status.restarts == restarts:
            await self._changed.wait()

    async def run(self) -> None:
        """Attach, watch, and attach again, until cancelled."""
        is_first = True
        while True:
            await self._attach(is_first=is_first)
            try:
                await self._watch()
            except KernelUnavailable as error:
                self._tell("lost", f"the kernel went away: {error.message}")
            finally:
                await self._detach()
            is_first = False

    async def _attach(self, *, is_first: bool) -> None:
        """Connect, again and again; start a kernel at once at first, later after a grace."""
        waited_s = 0.0
        while True:
            may_start = self._may_start and (is_first or waited_s >= GRACE_S)
            try:
                if may_start and not is_first:
                    self._tell("lost", "the kernel went away; starting it again …")
                client = await self._connect(may_start)
                self.pid = await client.open_process(self._command)
            except LingOSError as error:
                gone = "" if is_first else "the kernel went away; "
                self._tell("lost", gone + _reason(error, waits=not self._may_start))
                await self._sleep(RETRY_S)
                waited_s += RETRY_S
                continue
            self._client = client.with_options(caller="human")
            self._entered = client
            self._restarts += not is_first
            self._apart.clear()
            self._attached.set()
            self._tell("attached", "attached")
            return

    async def _watch(self) -> None:
        """Deliver snapshots until the kernel is gone: raises `KernelUnavailable`."""
        assert self._client is not None
        while True:
            try:
                snapshot = await _fetch(self._client)
            except KernelUnavailable:
                raise
            except LingOSError as error:
                self._tell("blind", _reason(error, waits=False))
            else:
                self._tell("attached", "attached")
                self._on_snapshot(snapshot)
            await self._sleep(self._period_s)

    async def _detach(self) -> None:
        self._attached.clear()
        self._apart.set()
        entered, self._entered, self._client = self._entered, None, None
        if entered is not None:
            await entered.__aexit__(None, None, None)

    def _tell(self, state: LinkState, message: str) -> None:
        status = LinkStatus(state, message, self._restarts)
        if status != self.status:
            self.status = status
            self._on_status(status)
            waiting, self._changed = self._changed, asyncio.Event()
            waiting.set()


async def _fetch(client: KernelClient) -> Snapshot:
    """The kernel's state now; raises `LingOSError` also for one that cannot be read."""
    import msgspec

    from lingos_kernel.telemetry.snapshot import Snapshot

    state = await client.call("sys.snapshot")
    try:
        return msgspec.convert(state, Snapshot)
    except msgspec.ValidationError as error:
        raise LingOSError(
            f"the kernel's snapshot cannot be read: {error}",
            hint="is the kernel of another version? `lingos kernel stop` ends it",
        ) from error


def _reason(error: LingOSError, *, waits: bool) -> str:
    hint = f" ({error.hint})" if error.hint else ""
    return f"{error.message}{hint}{'; waiting for one' if waits else ''}"
