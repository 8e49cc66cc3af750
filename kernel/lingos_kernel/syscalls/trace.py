"""The calls of a process as they begin and end, for one reader, as strace shows them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.events import Failure, Result
from lingos_kernel.syscalls.jsonable import to_jsonable

SHOWN = 200
"""Characters of an argument's value that a line shows."""


class Trace:
    """Watches the calls of some processes (`books.CallWatcher`); belongs to the kernel's loop."""

    def __init__(
        self, is_traced: Callable[[Call], bool], *, shows_values: bool, bound: int
    ) -> None:
        """`shows_values`: lines hold the values of arguments, not their names alone.

        `bound`: lines that wait for the reader; then the oldest are dropped, and counted.
        """
        self._is_traced = is_traced
        self._shows_values = shows_values
        self._lines: deque[dict[str, Any]] = deque(maxlen=bound)
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._is_closed = False

    def begun(self, call: Call) -> None:
        """A call was accepted."""
        if self._is_traced(call):
            values = {name: _shown(value) for name, value in call.arguments.items()}
            self._add("begin", call, arguments=values if self._shows_values else list(values))

    def ended(self, call: Call) -> None:
        """A call ended; one that was refused had not begun."""
        if not self._is_traced(call):
            return
        assert call.ended_s is not None
        outcome = call.outcome
        error = outcome.error if isinstance(outcome, Failure) else {}
        result_bytes = len(_encode(outcome.data)) if isinstance(outcome, Result) else 0
        self._add(
            "end",
            call,
            outcome=error.get("code", "ok"),
            message=error.get("message", "") if self._shows_values else "",
            result_bytes=result_bytes,
            queued_s=call.ended_s - call.queued_s - call.run_s,
            run_s=call.run_s,
        )

    def tell(self, line: dict[str, Any]) -> None:
        """Put in a line that is about no call."""
        self._dropped += len(self._lines) == self._lines.maxlen
        self._lines.append(line)
        self._arrived.set()

    def close(self) -> None:
        """Nothing more comes: the reader gets what is there."""
        self._is_closed = True
        self._arrived.set()

    async def lines(self) -> AsyncGenerator[dict[str, Any], None]:
        """Every line in order, until `close`; `{"event": "dropped"}` stands for lost ones."""
        while True:
            if self._dropped:
                lost, self._dropped = self._dropped, 0
                yield {"event": "dropped", "count": lost}
            if self._lines:
                yield self._lines.popleft()
            elif self._is_closed:
                return
            else:
                self._arrived.clear()
                await self._arrived.wait()

    def _add(self, event: str, call: Call, **facts: Any) -> None:
        self.tell(
            {
                "event": event,
                "time_s": time.time(),
                "pid": process_of(call),
                "call_id": call.call_id,
                "parent_id": call.parent.call_id if call.parent else "",
                "depth": call.depth,
                "syscall": call.name,
                **facts,
            }
        )


def process_of(call: Call) -> int:
    """The process that a call belongs to; 0 for one from outside that was refused before."""
    return call.pid or (call.parent.pid if call.parent else 0)


def _shown(value: Any) -> Any:
    """A value as a line shows it: JSON, cut when it is long."""
    try:
        text = _encode(to_jsonable(value)).decode()
    except (TypeError, ValueError) as error:
        text = f"{type(value).__name__} ({error})"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


_encode = msgspec.json.Encoder().encode
