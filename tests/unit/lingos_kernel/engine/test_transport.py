"""Transports: how an engine's death is told, and how it is ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from lingos_kernel.engine import transport as transport_module
from lingos_kernel.engine.host import EngineHost
from lingos_kernel.engine.messages import (
    Event,
    Generate,
    LoadModel,
    ModelSpec,
    Ready,
    SamplingParams,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.engine.transport import (
    Death,
    LogLines,
    PipeTransport,
    ThreadTransport,
    Transport,
)
from lingos_kernel.engine.watchdog import Patience
from lingos_kernel.errors import EngineDied, EngineError
from lingos_kernel.testing import Prompt, ScriptedCore

SCRIPTED = "lingos_kernel.testing:ScriptedCore"
AT_ONCE = RestartPolicy(first_delay_s=0.0, max_delay_s=0.0)
MODEL = ModelSpec(name="m", path="", context_tokens=100_000)


STUCK = """
import signal, time
from lingos_kernel.testing import ScriptedCore
class StuckCore(ScriptedCore):
    def handle(self, command):
        if {stubborn}:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(60)
"""

POISON = """
import os, signal
from lingos_kernel.testing import ScriptedCore
def script(prompt):
    if prompt.user == "poison":
        os.kill(os.getpid(), signal.SIGSEGV)
    return prompt.user
def make(settings, clock):
    return ScriptedCore(settings, clock, script=script)
"""

ENDLESS = """
import time
from lingos_kernel.testing import ScriptedCore
class EndlessCore(ScriptedCore):
    def step(self):
        time.sleep(600)
"""


class Listener:
    """Collects what a transport tells."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.death: asyncio.Future[Death] = asyncio.get_running_loop().create_future()

    async def open(self, transport: Transport) -> Ready:
        """Open a transport and wait until the engine is ready."""
        await transport.open(self.events.put_nowait, self.death.set_result)
        ready = await self.events.get()
        assert isinstance(ready, Ready)
        return ready


@pytest.fixture(params=["pipe", "thread"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    """A transport of each kind over a scripted core."""
    settings = EngineSettings()
    kinds: dict[str, Callable[[], Transport]] = {
        "pipe": lambda: PipeTransport(settings, core=SCRIPTED),
        "thread": lambda: ThreadTransport(settings, core=SCRIPTED),
    }
    transport = kinds[request.param]()
    yield transport
    await transport.close()


async def test_opens_again_after_close(transport: Transport) -> None:
    """A closed transport has no pid, tells no death, and can be opened again."""
    for _ in range(2):
        listener = Listener()
        ready = await listener.open(transport)
        assert transport.os_pid == ready.os_pid
        await transport.close()
        await transport.close()
        assert transport.os_pid is None
        assert not listener.death.done()


async def test_sending_to_nobody(transport: Transport) -> None:
    """Commands before the start and after the end are lost without harm."""
    transport.send(LoadModel(MODEL))
    await Listener().open(transport)
    await transport.close()
    transport.send(LoadModel(MODEL))


async def test_kill_is_told() -> None:
    """The death of a killed process names the signal, and comes once."""
    transport = PipeTransport(EngineSettings(), core=SCRIPTED)
    listener = Listener()
    os.kill((await listener.open(transport)).os_pid, signal.SIGKILL)
    assert (await listener.death).cause == "was killed by SIGKILL"
    assert transport.os_pid is None
    transport.send(LoadModel(MODEL))
    await transport.close()


async def test_failed_import_is_told_with_the_log() -> None:
    """A process that cannot even begin dies with its last words."""
    transport = PipeTransport(EngineSettings(), core="no_such_module:core")
    listener = Listener()
    await transport.open(listener.events.put_nowait, listener.death.set_result)
    death = await listener.death
    assert death.cause == "left with exit status 1"
    assert death.log_lines[-1] == "ModuleNotFoundError: No module named 'no_such_module'"


async def test_engine_that_never_starts_is_given_up() -> None:
    """The host says what the engine died of, with the end of its log."""
    host = EngineHost(PipeTransport(EngineSettings(), core="no_such_module:c"), restart=AT_ONCE)
    with pytest.raises(EngineDied, match="No module named 'no_such_module'") as failure:
        await host.start()
    assert failure.value.details["cause"] == "left with exit status 1"
    assert host.os_pid is None
    await host.stop()


def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for an engine that is asked to leave."""
    monkeypatch.setattr(transport_module, "CLOSE_S", 0.0)


async def test_engine_that_does_not_get_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An engine that hangs while it starts is given up after a while; a thread is left behind."""
    no_patience(monkeypatch)
    monkeypatch.setattr(transport_module, "TERMINATE_S", 0.0)
    released = threading.Event()

    def hang(settings: EngineSettings, clock: Callable[[], float]) -> ScriptedCore:
        released.wait()
        return ScriptedCore(settings, clock)

    host = EngineHost(
        ThreadTransport(EngineSettings(), core=hang),
        restart=RestartPolicy(start_timeout_s=0.01, max_crashes=1),
    )
    with pytest.raises(EngineDied, match="not ready within"):
        await host.start()
    assert "left behind" in caplog.text
    await host.stop()
    released.set()


@pytest.mark.parametrize("stubborn", [False, True])
async def test_stuck_process_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    """A process that does not leave when asked is terminated, and if that fails, killed."""
    no_patience(monkeypatch)
    monkeypatch.setattr(transport_module, "TERMINATE_S", 0.05 if stubborn else 30.0)
    (tmp_path / "stuck_core.py").write_text(STUCK.format(stubborn=stubborn))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    transport = PipeTransport(EngineSettings(), core="stuck_core:StuckCore")
    await Listener().open(transport)
    transport.send(LoadModel(MODEL))
    await transport.close()
    assert transport.os_pid is None


async def test_a_stopped_process_is_killed_and_its_request_goes_on() -> None:
    """An engine that is alive but silent (SIGSTOP) is given up; the answer is the whole one."""
    transport = PipeTransport(EngineSettings(), core=SCRIPTED, patience=Patience(silent_s=2.0))
    host = EngineHost(transport, restart=AT_ONCE)
    await host.start()
    await host.load(MODEL)
    prompt = "all of this comes back. " * 200
    request = Generate("r", "m", tuple(prompt.encode()), SamplingParams(max_tokens=100_000))
    outputs = host.generate(request)
    text = (await anext(outputs)).text
    assert host.os_pid
    os.kill(host.os_pid, signal.SIGSTOP)
    async for output in outputs:
        text += output.text
    assert text == prompt
    assert host.restarts == 1
    await host.stop()


async def test_a_step_without_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that tells it lives, but is lost in one step, is killed, and the reason is told."""
    (tmp_path / "endless_core.py").write_text(ENDLESS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    transport = PipeTransport(
        EngineSettings(), core="endless_core:EndlessCore", patience=Patience(step_s=0.5)
    )
    listener = Listener()
    await listener.open(transport)
    transport.send(LoadModel(MODEL))
    transport.send(Generate("r", "m", (104, 105), SamplingParams(max_tokens=5)))
    death = await listener.death
    assert "has been busy with one step" in death.cause
    assert "SIGKILL" in death.cause
    await transport.close()


async def test_an_engine_that_is_still_being_imported_is_not_asked_to_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not hear it for seconds: it is terminated at once."""
    monkeypatch.setattr(transport_module, "CLOSE_S", 3600.0)
    (tmp_path / "slow_core.py").write_text("import time; time.sleep(3600)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    transport = PipeTransport(EngineSettings(), core="slow_core:make")
    listener = Listener()
    await transport.open(listener.events.put_nowait, listener.death.set_result)
    await transport.close()
    assert transport.os_pid is None


async def test_thread_that_fails_is_told_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """An error in an engine's thread is its death; the host starts a new one."""
    failures = iter([RuntimeError("boom")])

    def script(prompt: Prompt) -> str | Exception:
        return next(failures, prompt.user)

    def make(settings: EngineSettings, clock: Callable[[], float]) -> ScriptedCore:
        return ScriptedCore(settings, clock, script=script)

    host = EngineHost(ThreadTransport(EngineSettings(), core=make), restart=AT_ONCE)
    await host.start()
    await host.load(MODEL)
    assert await text_of(host, "r", "hello") == "hello"
    assert host.restarts == 1
    assert "RuntimeError: boom" in caplog.text
    await host.stop()


async def test_poison_kills_a_process_three_times_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that segfaults the process fails alone; those beside it get their answers."""
    (tmp_path / "poison_core.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    host = EngineHost(PipeTransport(EngineSettings(), core="poison_core:make"), restart=AT_ONCE)
    await host.start()
    await host.load(MODEL)
    good, poison, fine = await asyncio.gather(
        text_of(host, "1", "x" * 3000),
        text_of(host, "2", "poison"),
        text_of(host, "3", "fine"),
        return_exceptions=True,
    )
    assert (good, fine) == ("x" * 3000, "fine")
    assert isinstance(poison, EngineError)
    assert "SIGSEGV" in str(poison)
    assert host.restarts == 3
    await host.stop()


async def test_slow_reader_of_a_large_answer() -> None:
    """A consumer that reads nothing for a long time stalls nobody, and then gets all at once."""
    host = EngineHost(PipeTransport(EngineSettings(), core=SCRIPTED))
    await host.start()
    await host.load(MODEL)
    params = SamplingParams(max_tokens=20_000, ignore_eos=True)
    slow = host.generate(Generate("slow", "m", tuple(b"abc"), params))
    first = await anext(slow)
    assert await text_of(host, "quick", "hello") == "hello"
    while "slow" in {row.request_id for row in host.stats.sequences}:
        await text_of(host, "quick", "hello")
    rest = await anext(slow)
    assert len(first.token_ids) + len(rest.token_ids) == 20_000
    assert rest.finish_reason == "length"
    await host.stop()


async def text_of(host: EngineHost, request_id: str, prompt: str) -> str:
    """The whole answer to a prompt."""
    params = SamplingParams(max_tokens=4000)
    request = Generate(request_id, "m", tuple(prompt.encode()), params)
    return "".join([output.text async for output in host.generate(request)])


def test_log_lines_are_whole_and_keep_their_level(caplog: pytest.LogCaptureFixture) -> None:
    """Pieces of a log become lines with the level that they name; the last ones are kept."""
    lines = LogLines()
    with caplog.at_level(logging.DEBUG, logger="lingos.engine"):
        for piece in (b"WARNING a", b": careful\nfree t", "ext ü\nunfini".encode(), b"shed"):
            lines.feed(piece)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "WARNING a: careful"),
        ("INFO", "free text ü"),
    ]
    assert lines.lines == ("WARNING a: careful", "free text ü", "unfinished")
    for number in range(100):
        lines.add(f"line {number}")
    assert len(lines.lines) <= transport_module.LOG_LINES_KEPT + 1
