"""The engine's side of a transport: the loop around a core, and the child process that runs it.

`python -m lingos_kernel.engine.worker SETTINGS CORE` reads commands from its standard input,
writes events to its standard output, and logs to standard error.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Protocol

import msgspec

from lingos_kernel.engine.framing import FrameDecoder, frame
from lingos_kernel.engine.messages import (
    Command,
    DeviceInfo,
    Event,
    Ready,
    Shutdown,
    decode_command,
)
from lingos_kernel.engine.pulse import Activity, occupation_of, start_pulse
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.errors import EngineError

log = logging.getLogger("lingos.worker")

ENGINE_CORE = "lingos_kernel.engine.core:EngineCore"
READ_BYTES = 1 << 16
PR_SET_PDEATHSIG = 1


class Core(Protocol):
    """What runs the models: takes commands, advances by steps, answers with events."""

    @property
    def device(self) -> DeviceInfo:
        """Where it computes."""

    @property
    def has_work(self) -> bool:
        """Whether a step would advance anything."""

    def handle(self, command: Command) -> Sequence[Event]:
        """Take a command in; the events that answer it at once."""

    def step(self) -> Sequence[Event]:
        """Advance every sequence of the next batch; the events that this gave."""


CoreFactory = Callable[[EngineSettings, Callable[[], float]], Core]
Inbox = queue.SimpleQueue[Command]


def serve(
    core: Core,
    inbox: Inbox,
    send: Callable[[Sequence[Event]], None],
    activity: Activity | None = None,
) -> None:
    """Run the core until `Shutdown`: take what came in, step, send; wait only when idle."""
    activity = activity or Activity(time.monotonic)
    send((Ready(os_pid=os.getpid(), device=core.device),))
    while True:
        for command in _arrived(inbox, wait=not core.has_work):
            with activity.of(occupation_of(command)):
                events = core.handle(command)
            if isinstance(command, Shutdown):
                return
            send(events)
        if core.has_work:
            with activity.of("step"):
                events = core.step()
            send(events)


def _arrived(inbox: Inbox, *, wait: bool) -> Iterator[Command]:
    if wait:
        yield inbox.get()
    while not inbox.empty():  # this thread alone takes, so get() cannot block
        yield inbox.get()


def core_factory(path: str) -> CoreFactory:
    """The factory named MODULE:NAME; importing it may take seconds (torch)."""
    module, _, name = path.partition(":")
    factory: CoreFactory = getattr(import_module(module), name)
    return factory


def main(arguments: Sequence[str]) -> None:
    """Be an engine process until `Shutdown`, or until the parent is gone."""
    settings = msgspec.json.decode(arguments[0], type=EngineSettings)
    _die_with_parent()
    commands_fd, events_fd = _claim_pipes()
    _configure(settings)
    inbox: Inbox = queue.SimpleQueue()
    # A thread of its own sees the parent's death even during a long step or load, and takes the
    # first commands in while the core is being imported.
    threading.Thread(target=_receive, args=(commands_fd, inbox), daemon=True).start()
    # Importing torch and transformers makes a million objects that stay: collecting in between
    # costs a fifth of the time to start, and later collections need not look at them again.
    gc.disable()
    core = core_factory(arguments[1])(settings, time.monotonic)
    gc.freeze()
    gc.enable()
    writing = threading.Lock()

    def send(events: Sequence[Event]) -> None:
        with writing:
            _write(events_fd, events)

    activity = Activity(time.monotonic)
    start_pulse(activity, lambda pulse: send((pulse,)))
    serve(core, inbox, send, activity)
    # Nothing is left to save, and tearing torch down can take longer than the kernel waits.
    logging.shutdown()
    os._exit(0)


def _die_with_parent() -> None:
    """Have Linux end this process with the thread that started it: the one of the kernel's loop.

    Elsewhere, and if the parent was gone before this call, the closed pipe tells.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _claim_pipes() -> tuple[int, int]:
    """The pipes as private descriptors; from here on, what libraries print goes to the log."""
    commands_fd, events_fd = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands_fd, events_fd


def _configure(settings: EngineSettings) -> None:
    faulthandler.enable()
    os.environ["HF_HUB_OFFLINE"] = "1"  # models are folders here; only the store fetches
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)


def _receive(commands_fd: int, inbox: Inbox) -> None:
    """Take commands in until the parent is gone; then nobody is left to answer."""
    decoder = FrameDecoder()
    try:
        while data := os.read(commands_fd, READ_BYTES):
            for payload in decoder.feed(data):
                inbox.put(decode_command(payload))
    except (EngineError, msgspec.MsgspecError):
        log.critical("a command cannot be read: the engine must end", exc_info=True)
        os._exit(1)
    os._exit(0)


def _write(events_fd: int, events: Sequence[Event]) -> None:
    data = memoryview(b"".join(frame(event) for event in events))
    try:
        while data:
            data = data[os.write(events_fd, data) :]
    except BrokenPipeError:
        os._exit(0)  # as above


if __name__ == "__main__":
    main(sys.argv[1:])
