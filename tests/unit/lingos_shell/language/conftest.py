"""An interpreter on a scripted kernel, and a sink that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.client.local import LocalClient
from lingos_kernel.kernel import Kernel
from lingos_kernel.testing.scripted_kernel import scripted_kernel
from lingos_shell.language.interpreter import Interpreter
from lingos_shell.language.sink import (
    AnswerText,
    Failed,
    HostOutput,
    Narration,
    ShellEvent,
    Shown,
)


@dataclass
class Remembered:
    """A `Sink` that keeps what it is shown."""

    events: list[ShellEvent] = field(default_factory=list)
    says_yes: bool = True
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    has_text: asyncio.Event = field(default_factory=asyncio.Event)

    async def show(self, event: ShellEvent) -> None:
        """Keep the event."""
        self.events.append(event)
        if isinstance(event, AnswerText | HostOutput):
            self.has_text.set()

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Answer as told."""
        self.asked.append((name, arguments))
        return self.says_yes

    @property
    def text(self) -> str:
        """The streamed text."""
        return "".join(e.text for e in self.events if isinstance(e, AnswerText | HostOutput))

    @property
    def values(self) -> list[Any]:
        """The values that were shown."""
        return [e.value for e in self.events if isinstance(e, Shown)]

    @property
    def told(self) -> list[str]:
        """The narration."""
        return [e.text for e in self.events if isinstance(e, Narration)]

    @property
    def error(self) -> Any:
        """The error that was shown."""
        return next((e.error for e in self.events if isinstance(e, Failed)), None)


@pytest.fixture
def sink() -> Remembered:
    """A sink that says yes."""
    return Remembered()


@pytest.fixture
async def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kernel]:
    """A kernel whose model echoes; the test works in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SHELL", "/bin/sh")
    async with scripted_kernel(tmp_path / "home", plugins="text") as started:
        yield started


@pytest.fixture
async def shell(kernel: Kernel) -> AsyncIterator[Interpreter]:
    """An interpreter with a process of its own."""
    async with LocalClient(kernel) as client:
        interpreter = Interpreter(client, pid=await client.open_process("test"))
        yield interpreter
        await interpreter.close()
