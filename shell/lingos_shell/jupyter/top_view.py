"""The live scheduler view in a notebook."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import msgspec
import traitlets

from lingos_kernel.errors import LingOSError
from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_shell.jupyter.top_html import top_html

if TYPE_CHECKING:
    from lingos_shell.jupyter.bridge import Bridge

FRAMES_PER_S = 3
SILENCE_S = 15.0
"""A view that has not said for so long that it is open is not; they say it every 5 s."""
UNKNOWN_VIEW = "the cell that showed it"
"""Open until a view says who it is, or for `SILENCE_S` where none can."""
_HERE = Path(__file__).parent
_STYLE = (_HERE / "top_view.css").read_text(encoding="utf-8")


class TopView(anywidget.AnyWidget):
    """Shows the kernel's snapshot a few times a second while a view of it is open."""

    _esm = _HERE / "top_view.js"
    _css = _STYLE
    markup = traitlets.Unicode("").tag(sync=True)

    def __init__(self, bridge: Bridge, snapshot: Snapshot) -> None:
        super().__init__(markup=top_html(snapshot))
        self._bridge = bridge
        self._still = still_of(snapshot)
        self._seen_s: dict[str, float] = {}
        self._watch: Future[None] | None = None
        self.take({"view": UNKNOWN_VIEW, "is_open": True})

    @property
    def is_live(self) -> bool:
        """Whether somebody looks at it."""
        return self._watch is not None

    def close(self) -> None:
        """Stop following the kernel and go away."""
        self._stop()
        super().close()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a still of it for places where no widget can live."""
        found = super()._repr_mimebundle_(**kwargs)
        if found is None:
            return None
        data, metadata = found
        return {**data, "text/html": self._still}, metadata

    def take(self, content: Mapping[str, Any]) -> None:
        """A message of a view: it is (still) open, it closed, or a button was pressed."""
        match content:
            case {"view": str(view), "is_open": True}:
                self._seen_s.pop(UNKNOWN_VIEW, None)
                self._seen_s[view] = time.monotonic()
                if self._watch is None:
                    self._watch = self._bridge.submit(self._follow())
            case {"view": str(view)}:
                self._seen_s.pop(view, None)
                if not self._seen_s:
                    self._stop()
            case {"action": str(action), "pid": int(pid)}:
                self._bridge.submit(self._act(action, pid))

    def _stop(self) -> None:
        self._seen_s.clear()
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _follow(self) -> None:
        """Draw as long as a view says that it is open; a page that was closed says nothing."""
        while any(time.monotonic() - seen_s < SILENCE_S for seen_s in self._seen_s.values()):
            self.markup = await self._drawn()
            await asyncio.sleep(1 / FRAMES_PER_S)
        self._watch = None

    async def _drawn(self) -> str:
        try:
            return top_html(await snapshot_of(self._bridge))
        except LingOSError as error:
            return f'<div class="lingos-top">{error}</div>'

    async def _act(self, action: str, pid: int) -> None:
        client = await self._bridge.client()
        try:
            if action == "cancel":
                await client.call("proc.kill", pid=pid)
            else:
                rows = {row.pid: row for row in (await snapshot_of(self._bridge)).processes}
                step = -1 if action == "sooner" else 1
                priority = max(-20, min(19, rows[pid].priority + step))
                await client.call("proc.nice", pid=pid, priority=priority)
        except (LingOSError, KeyError):
            return  # it has ended, or may not be touched; the next picture shows what is
        self.markup = await self._drawn()


def still_of(snapshot: Snapshot) -> str:
    """The view as HTML that stands for itself."""
    return f"<style>{_STYLE}</style>{top_html(snapshot, has_buttons=False)}"


async def snapshot_of(bridge: Bridge) -> Snapshot:
    """The kernel's snapshot; on the bridge's thread. Raises `LingOSError`."""
    client = await bridge.client()
    return msgspec.convert(await client.call("sys.snapshot"), Snapshot)
