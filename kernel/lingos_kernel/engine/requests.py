"""Which engine requests belong to which process, and what each process asked for so far."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lingos_kernel.engine.protocol import Engine


@dataclass(slots=True)
class Work:
    """What a process has asked of models so far."""

    model: str = ""
    request_id: str = ""
    """Of its newest request."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    first_token_s: float | None = None
    """Of its newest request."""


class Requests:
    """Which engine requests belong to which process: what signals and renices act on.

    Observes the process table (`processes.table.ProcessObserver`).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._by_pid: dict[int, set[str]] = {}
        self._held: set[int] = set()
        self._work: dict[int, Work] = {}

    @contextmanager
    def track(self, pid: int) -> Iterator[str]:
        """A fresh request id that belongs to the process while the block runs."""
        request_id = uuid.uuid4().hex[:16]
        self._by_pid.setdefault(pid, set()).add(request_id)
        try:
            yield request_id
        finally:
            mine = self._by_pid[pid]
            mine.discard(request_id)
            if not mine:
                del self._by_pid[pid]

    def of(self, pid: int) -> frozenset[str]:
        """The running request ids of a process."""
        return frozenset(self._by_pid.get(pid, ()))

    def work(self, pid: int) -> Work:
        """The books of a process."""
        return self._work.setdefault(pid, Work())

    def is_held(self, pid: int) -> bool:
        """Whether requests of the process start paused."""
        return pid in self._held

    def ended(self, pid: int) -> None:
        """Close the books of a process."""
        self._held.discard(pid)
        self._work.pop(pid, None)

    def cancel_calls(self, pid: int, reason: str) -> None:
        """Nothing to do: a cancelled call closes its requests itself."""

    def stopped(self, pid: int) -> None:
        """Hold every request of the process, and those it starts from now on."""
        self._held.add(pid)
        for request_id in self.of(pid):
            self._engine.pause(request_id)

    def continued(self, pid: int) -> None:
        """Let the process go on."""
        self._held.discard(pid)
        for request_id in self.of(pid):
            self._engine.resume(request_id)

    def reniced(self, pid: int, priority: int) -> None:
        """Change the priority of every request of the process."""
        for request_id in self.of(pid):
            self._engine.set_priority(request_id, priority)
