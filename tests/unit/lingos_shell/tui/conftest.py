"""A stand-in for a kernel that draws the sample snapshot, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from lingos_kernel.errors import KernelUnavailable, LingOSError, UnknownSyscall, to_wire
from lingos_kernel.syscalls.events import Accepted, AnyEvent, Failure, Item, Progress, Result
from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_kernel.testing import FakeClock
from lingos_kernel.testing.sample_snapshot import busy_snapshot
from lingos_shell.tui.app import LingOSApp, TopApp
from lingos_shell.tui.scheduler.pane import SchedulerPane

Answer = Callable[..., Any]
Open = Callable[..., AbstractAsyncContextManager[Any]]
USAGE = {"prompt_tokens": 5, "output_tokens": 8, "first_token_s": 0.1, "total_s": 0.4}


def chat_result(text: str) -> dict[str, Any]:
    """What `llm.chat` ends with."""
    return {"text": text, "model": "scripted", "finish_reason": "stop", "usage": USAGE}


@dataclass
class KeptContext:
    """What a kernel answers about one context that was just made."""

    name: str = ""

    def answers(self) -> dict[str, Answer]:
        """Its syscalls, and those of a session's process."""
        return {
            "proc.open": lambda **_: {"pid": 41, "priority": 0},
            "proc.close": lambda pid: {"closed": pid},
            "ctx.list": list,
            "ctx.create": lambda **_: {},
            "ctx.show": lambda name: {"name": name, "model": "scripted", "messages": []},
        }


@dataclass
class Kernel:
    """Syscalls that are the test's own functions; it can die and come back.

    The first snapshot comes by itself, further ones with `await screen.show(snapshot)`.
    """

    snapshot: Snapshot = field(default_factory=busy_snapshot)
    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    is_up: bool = True
    starts: list[bool] = field(default_factory=list)

    async def connect(self, may_start: bool) -> Kernel:
        """As the interface wants it."""
        self.starts.append(may_start)
        if not self.is_up:
            raise KernelUnavailable("no kernel answers", hint="start one", reason="absent")
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    def with_options(self, **_: Any) -> Kernel:
        """The same."""
        return self

    async def open_process(self, command: str, **_: Any) -> int:
        """Remembers it."""
        self.opened.append(command)
        return 40

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The answer of the test's function; the snapshot without any."""
        if not self.is_up:
            raise KernelUnavailable("it went away", reason="gone")
        if name == "sys.snapshot":
            return msgspec.to_builtins(self.snapshot)
        self.calls.append((name, arguments))
        if name not in self.answers:
            raise UnknownSyscall(f"unknown syscall {name!r}", hint="none")
        answer = self.answers[name](**arguments)
        return await answer if isinstance(answer, Awaitable) else answer

    async def stream(self, name: str, /, **arguments: Any) -> AsyncGenerator[AnyEvent, None]:
        """Items that the test's function returns or yields; the last one is the result."""
        self.calls.append((name, arguments))
        yield Accepted("call-1", 40)
        try:
            items = self.answers[name](**arguments)
            if isinstance(items, AsyncGenerator):
                async for item in items:
                    yield item if isinstance(item, Result | Progress) else Item(item)
                return
            *pieces, last = items
            for piece in pieces:
                yield Item(piece)
            yield Result(last)
        except LingOSError as error:
            yield Failure(to_wire(error))


@dataclass
class Screen:
    """A program on a screen of a test."""

    app: LingOSApp
    pilot: Pilot[None]
    kernel: Kernel
    clock: FakeClock

    @property
    def pane(self) -> SchedulerPane:
        """The scheduler pane of the open screen."""
        return self.app.screen.query_one(SchedulerPane)

    @property
    def pids(self) -> list[int]:
        """Keys of the shown rows, in order."""
        return [row.key for row in self.pane.rows]

    @property
    def selected(self) -> Any:
        """Key of the selected row."""
        return self.pane.grid.cursor

    def text(self) -> str:
        """What is on the screen, as plain text."""
        lines = self.app.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)

    def told(self) -> str:
        """What notifications say."""
        return "\n".join(notice.message for notice in self.app._notifications)

    async def press(self, *keys: str) -> None:
        """Press keys, and wait until what they began has settled."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def show(self, snapshot: Snapshot) -> None:
        """A new snapshot has come."""
        self.kernel.snapshot = snapshot
        self.app._snapshot_came(snapshot)
        await self.pilot.pause()

    async def until(self, condition: Callable[[], Any], limit: int = 400) -> None:
        """Wait until something is so."""
        for _ in range(limit):
            if condition():
                return
            await self.pilot.pause(0.01)
        raise AssertionError(f"it did not come to be:\n{self.text()}")


@pytest.fixture
def kernel() -> Kernel:
    """A stand-in kernel with the sample snapshot."""
    done: Answer = lambda **_: {}  # noqa: E731
    names = ("proc.kill", "proc.nice", "model.pin", "model.unpin", "model.unload")
    answers = dict.fromkeys(names, done)
    return Kernel(answers=answers | KeptContext().answers())


@pytest.fixture
def clock() -> FakeClock:
    """The clock of the pane."""
    return FakeClock()


@pytest.fixture
def open_screen(kernel: Kernel, clock: FakeClock) -> Open:
    """`async with open_screen("top", size=(120, 40)) as screen`: it has drawn a snapshot."""

    @asynccontextmanager
    async def opened(
        which: str = "top", *, size: tuple[int, int] = (160, 45), waits: bool = True, **options: Any
    ) -> AsyncIterator[Screen]:
        options.setdefault("period_s", 3600.0)  # the test brings the snapshots
        app = {"top": TopApp, "main": LingOSApp}[which](kernel.connect, **options)
        async with app.run_test(size=size) as pilot:
            screen = Screen(app, pilot, kernel, clock)
            if waits:
                await screen.until(lambda: app.scheduler.latest is not None)
                await pilot.pause()
            yield screen

    return opened
