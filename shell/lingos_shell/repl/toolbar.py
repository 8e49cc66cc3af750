"""What the bottom line says: model, queue, KV pages, tokens per second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from lingos_kernel.errors import LingOSError
from lingos_shell.repl.late_client import LateClient, State

PROBLEMS: Mapping[State, str] = {
    "apart": "no kernel runs; the next line starts one",
    "attaching": "starting the kernel …",
    "attached": "",
}
PERIOD_S = 1.0
"""Between two looks at the kernel."""


class Watch:
    """Looks at the kernel again and again, and keeps the last picture."""

    def __init__(self, client: LateClient, on_change: Callable[[], None]) -> None:
        self._client = client
        self._on_change = on_change
        self.snapshot: Mapping[str, Any] | None = None
        self.problem = PROBLEMS["attaching"]

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look()
            self._on_change()
            await asyncio.sleep(PERIOD_S)

    async def _look(self) -> None:
        """Take a picture, but start no kernel for it: somebody may have stopped it on purpose."""
        self.problem = PROBLEMS[self._client.state]
        if self._client.state != "attached":
            self.snapshot = None
            return
        try:
            self.snapshot = await self._client.call("sys.snapshot")
        except LingOSError as error:
            self.snapshot, self.problem = None, error.message.splitlines()[0]


def kernel_text(snapshot: Mapping[str, Any], model: str) -> str:
    """`model  2 running 1 waiting  KV 12 %  41 tok/s`."""
    rates, models = snapshot["rates"], snapshot["models"]
    row = next((row for row in models if row["name"] == model), None)
    running = sum(each["running"] for each in models)
    waiting = sum(each["waiting"] for each in models)
    parts = [model or "no model", f"{running} running {waiting} waiting"]
    if row and row["kv_bytes"]:
        parts.append(f"KV {100 * row['kv_used_bytes'] / row['kv_bytes']:.0f} %")
    parts.append(f"{rates['output_tokens_per_s']:.0f} tok/s")
    return "  ".join(parts)
