"""What the bottom line says: model, queue, KV pages, tokens per second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import LingOSError

PERIOD_S = 1.0
"""Between two looks at the kernel."""


class Watch:
    """Looks at the kernel again and again, and keeps the last picture."""

    def __init__(self, client: KernelClient, on_change: Callable[[], None]) -> None:
        self._client = client
        self._on_change = on_change
        self.snapshot: Mapping[str, Any] | None = None
        self.problem = "starting the kernel …"

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                self.snapshot = await self._client.call("sys.snapshot")
                self.problem = ""
            except LingOSError as error:
                self.snapshot, self.problem = None, error.message.splitlines()[0]
            self._on_change()
            await asyncio.sleep(PERIOD_S)


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
