"""The engine process itself: its pipes, its end."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lingos_kernel.engine.framing import FrameDecoder, frame
from lingos_kernel.engine.messages import (
    Command,
    Event,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    Ready,
    Shutdown,
    decode_event,
)

SCRIPTED = "lingos_kernel.testing:ScriptedCore"
Worker = subprocess.Popen[bytes]

NOISY = """
import sys, os
from lingos_kernel.testing import ScriptedCore
def make(settings, clock):
    print("printed by a library")
    os.system("echo printed by a program")
    return ScriptedCore(settings, clock)
"""

PARENT = """
import asyncio
from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.transport import PipeTransport
async def main():
    host = EngineHost(PipeTransport(EngineSettings(), core="lingos_kernel.testing:ScriptedCore"))
    await host.start()
    print(host.os_pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def start(core: str = SCRIPTED, env: Mapping[str, str] | None = None) -> Worker:
    """A worker with pipes to it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lingos_kernel.engine.worker", "{}", core],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A worker over a scripted core; it has left when the test ends."""
    with start() as worker:
        yield worker


def say(worker: Worker, *commands: Command) -> None:
    """Send commands."""
    assert worker.stdin
    worker.stdin.write(b"".join(map(frame, commands)))
    worker.stdin.flush()


def listen(worker: Worker) -> tuple[list[Event], bytes]:
    """All events and the log of a worker that is leaving."""
    assert worker.stdout
    assert worker.stderr
    payloads = FrameDecoder().feed(worker.stdout.read())
    return [decode_event(payload) for payload in payloads], worker.stderr.read()


def test_commands_in_events_out(worker: Worker) -> None:
    """It says `Ready`, answers a command, and leaves on `Shutdown` with status 0."""
    say(worker, LoadModel(ModelSpec(name="m", path="")), Shutdown())
    (ready, loaded), err = listen(worker)
    assert isinstance(ready, Ready)
    assert isinstance(loaded, ModelLoaded)
    assert (ready.os_pid, loaded.name) == (worker.pid, "m")
    assert (worker.wait(), err) == (0, b"")


def test_end_of_input_ends_it(worker: Worker) -> None:
    """When nobody can command it any more, it leaves by itself."""
    worker.communicate(timeout=30)
    assert worker.returncode == 0


def test_unreadable_command_ends_it(worker: Worker) -> None:
    """A command that it cannot read would leave the kernel waiting for ever, so it dies."""
    assert worker.stdin
    worker.stdin.write(b"\x01\x00\x00\x00\xff")
    worker.stdin.flush()
    _, err = listen(worker)
    assert worker.wait() == 1
    assert b"a command cannot be read" in err


def test_prints_do_not_reach_the_pipe(tmp_path: Path) -> None:
    """What libraries and programs print goes to the log, not among the events."""
    (tmp_path / "noisy_core.py").write_text(NOISY)
    with start("noisy_core:make", {"PYTHONPATH": str(tmp_path)}) as worker:
        say(worker, Shutdown())
        events, err = listen(worker)
    assert [type(event) for event in events] == [Ready]
    assert b"printed by a library" in err
    assert b"printed by a program" in err


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the end of a stranger needs a pidfd")
def test_killed_parent_leaves_no_orphan() -> None:
    """When the kernel is killed, its engine ends too."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        engine = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.kill()
            ended, _, _ = select.select([engine], [], [], 30)
        finally:
            os.close(engine)
    assert ended
