"""What runs in the background: its own process in the kernel, its output kept until it is read."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lingos_kernel.errors import UnknownName
from lingos_shell.language.sink import AnswerText, HostOutput, ShellEvent, Sink

MAX_EVENTS = 10_000
"""Of the output of a job that nobody follows; the oldest go first."""


class JobOutput:
    """The sink of a job: keeps events, or hands them to whoever follows."""

    def __init__(self) -> None:
        self._kept: deque[ShellEvent] = deque(maxlen=MAX_EVENTS)
        self._follower: Sink | None = None

    async def show(self, event: ShellEvent) -> None:
        """Show the event to the follower, or keep it."""
        if self._follower is not None:
            await self._follower.show(event)
        else:
            self._keep(event)

    def _keep(self, event: ShellEvent) -> None:
        last = self._kept[-1] if self._kept else None
        if isinstance(event, AnswerText) and isinstance(last, AnswerText):
            self._kept[-1] = AnswerText(last.text + event.text)
        elif isinstance(event, HostOutput) and isinstance(last, HostOutput):
            self._kept[-1] = HostOutput(last.text + event.text)
        else:
            self._kept.append(event)

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask the follower; without one the answer is no."""
        return await self._follower.approve(name, arguments) if self._follower else False

    async def follow(self, sink: Sink) -> None:
        """Show what was kept, and all that comes from now on."""
        while self._kept:
            await sink.show(self._kept.popleft())
        self._follower = sink

    def leave(self) -> None:
        """Keep again what comes."""
        self._follower = None


@dataclass(slots=True)
class Job:
    """A pipeline in the background."""

    number: int
    source: str
    pid: int
    task: asyncio.Task[Any]
    output: JobOutput
    is_stopped: bool = False

    @property
    def state(self) -> str:
        """running, stopped, done, failed, cancelled."""
        if not self.task.done():
            return "stopped" if self.is_stopped else "running"
        if self.task.cancelled():
            return "cancelled"
        return "failed" if self.task.exception() else "done"

    def row(self) -> dict[str, Any]:
        """What `/jobs` shows."""
        return {"job": self.number, "state": self.state, "pid": self.pid, "command": self.source}


@dataclass(slots=True)
class Jobs:
    """The jobs of a session, by number."""

    on_end: Callable[[Job], None] = lambda _job: None
    _jobs: dict[int, Job] = field(default_factory=dict)

    def add(self, source: str, pid: int, task: asyncio.Task[Any], output: JobOutput) -> Job:
        """Keep a job that was just begun."""
        number = max(self._jobs, default=0) + 1
        job = self._jobs[number] = Job(number, source, pid, task, output)
        task.add_done_callback(lambda _: self._ended(job))
        return job

    def find(self, number: int | None) -> Job:
        """The job of the number, or the latest. Raises `UnknownName`."""
        if number is None and self._jobs:
            running = [n for n, job in self._jobs.items() if not job.task.done()]
            number = max(running or self._jobs)
        if number not in self._jobs:
            which = f"job {number}" if number is not None else "job"
            known = ", ".join(map(str, self._jobs))
            raise UnknownName(
                f"there is no {which}",
                hint=f"there are {known}" if known else "a line that ends in & becomes one",
            )
        return self._jobs[number]

    def all(self) -> list[Job]:
        """The jobs, by number."""
        return list(self._jobs.values())

    def forget(self, job: Job) -> None:
        """Take a job that has ended off the list."""
        self._jobs.pop(job.number, None)

    def _ended(self, job: Job) -> None:
        if not job.task.cancelled():
            job.task.exception()  # whoever waits is told; nobody has to
        self.on_end(job)

    async def close(self) -> None:
        """Cancel what runs, in the kernel too, and wait for it."""
        tasks = [job.task for job in self._jobs.values() if not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
