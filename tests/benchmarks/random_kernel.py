"""The kernel of `random_operations.py`: a real one, with a plugin that breaks things when told to.

    python tests/benchmarks/random_kernel.py SOCKET

serves one on the socket until it is told to stop; `LINGOS_HOME` says where it keeps its files.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lingos_kernel.engine.settings import EngineSettings
    from lingos_kernel.engine.worker import Core


class WallClock:
    """The machine's clock, which somebody may set."""

    def __init__(self) -> None:
        self._true = time.time
        self.shift_s = float(os.environ.get("CLOCK_SHIFT_S", "0"))

    def __call__(self) -> float:
        """Unix time as the machine tells it."""
        return self._true() + self.shift_s


wall = WallClock()
if __name__ == "__main__":
    time.time = wall  # before anything of LingOS takes hold of it

from lingos_kernel import Context, hookimpl, syscall  # noqa: E402
from lingos_kernel.config import load_config  # noqa: E402
from lingos_kernel.engine.choice import engine_settings  # noqa: E402
from lingos_kernel.engine.host import EngineHost  # noqa: E402
from lingos_kernel.engine.supervision import RestartPolicy  # noqa: E402
from lingos_kernel.engine.transport import PipeTransport  # noqa: E402
from lingos_kernel.engine.watchdog import Patience  # noqa: E402
from lingos_kernel.hookspecs import Register  # noqa: E402
from lingos_kernel.kernel import Kernel  # noqa: E402
from lingos_kernel.server.claim import claim  # noqa: E402
from lingos_kernel.server.serving import StopRequest, serve, started  # noqa: E402

SILENT_S = 5.0
"""After so long a stopped engine is given up."""
FAULTS: dict[str, Callable[[], BaseException]] = {
    "error": lambda: ValueError("told to fail"),
    "system_exit": lambda: SystemExit(3),
    "keyboard": lambda: KeyboardInterrupt(),
    "generator_exit": lambda: GeneratorExit(),
    "memory": lambda: MemoryError("told to fail"),
    "cancelled": lambda: asyncio.CancelledError(),
}


def checked_core(settings: EngineSettings, clock: Callable[[], float]) -> Core:
    """LingOS's engine; whenever it falls idle it looks whether every page has its holders."""
    from lingos_kernel.engine.core import EngineCore
    from lingos_kernel.engine.messages import Event

    class CheckedCore(EngineCore):
        """Dies of an assertion when its books are wrong."""

        def step(self) -> Sequence[Event]:  # type: ignore[override]
            """Advance, and check."""
            events = super().step()
            if not self.has_work:
                self.check_integrity()
            return events

    return CheckedCore(settings, clock)


class Chaos:
    """Syscalls and hooks that fail as they are told to."""

    def __init__(self) -> None:
        self.kernel: Kernel | None = None
        self._hook_faults: dict[str, list[str]] = {"before": [], "after": []}

    @hookimpl
    def lingos_register_syscalls(self, register: Register) -> None:
        """Register them."""
        for function in (
            self.fail, self.fail_sync, self.stream, self.sleep, self.nest, self.hooks, self.clock,
            self.inventory,
        ):  # fmt: skip
            register.add(function)

    @hookimpl
    def lingos_before_syscall(self, info: Any) -> None:
        """Fail when told to, but let the syscalls of this plugin through."""
        self._fail_as_told("before", info.name)

    @hookimpl
    def lingos_after_syscall(self, info: Any) -> None:
        """Fail when told to."""
        self._fail_as_told("after", info.name)

    def _fail_as_told(self, when: str, name: str) -> None:
        if self._hook_faults[when] and not name.startswith("chaos."):
            raise FAULTS[self._hook_faults[when].pop()]()

    @syscall("chaos.fail", cost="io")
    async def fail(self, kind: str) -> None:
        """Raise, on the loop."""
        await asyncio.sleep(0)
        raise FAULTS[kind]()

    @syscall("chaos.fail_sync")
    def fail_sync(self, kind: str) -> None:
        """Raise, on a thread."""
        raise FAULTS[kind]()

    @syscall("chaos.stream")
    def stream(self, count: int, kind: str = "") -> Iterator[int]:
        """Stream numbers from a thread, and fail at the end when told to."""
        yield from range(count)
        if kind:
            raise FAULTS[kind]()

    @syscall("chaos.sleep")
    def sleep(self, seconds: float) -> float:
        """Hold a thread and take no notice of a cancel."""
        time.sleep(seconds)
        return seconds

    @syscall("chaos.nest")
    def nest(self, context: Context, wide: int, kind: str = "") -> list[Any]:
        """Make calls from a thread, side by side, one of which fails when told to."""
        calls = [{"seconds": 0.01 * n} for n in range(wide)]
        done = context.map_sync("chaos.sleep", calls, parallel=3)
        if kind:
            context.call_sync("chaos.fail", kind=kind)
        return done

    @syscall("chaos.hooks", cost="io")
    async def hooks(self, when: str, kind: str) -> None:
        """Let the next hook fail."""
        self._hook_faults[when].append(kind)

    @syscall("chaos.clock", cost="io")
    async def clock(self, shift_s: float) -> float:
        """Set the machine's clock ahead or back."""
        wall.shift_s += shift_s
        return wall.shift_s

    @syscall("chaos.inventory", cost="io")
    async def inventory(self, context: Context) -> dict[str, Any]:
        """Everything that is there, to be compared with what is there when all is quiet."""
        kernel = self.kernel
        assert kernel is not None
        gc.collect()
        picture = await kernel.snapshot()
        mine = {context.pid}
        return {
            "threads": _counted(thread.name for thread in threading.enumerate()),
            "files": _counted(_open_files()),
            "tasks": _counted(_tasks()),
            "children": sorted(_children()),
            "engine": kernel.engine.os_pid,
            "restarts": kernel.engine.restarts,
            "processes": [[p.pid, p.command] for p in picture.processes if p.pid not in mine | {1}],
            "calls": [c.syscall for c in picture.calls if c.call_id != context.call_id],
            "strays": kernel.dispatcher.stats().strays,
            "sequences": len(picture.sequences),
            "pages_used": sum(m.pages_used for m in kernel.engine.stats.models),
            "locks": [[x.name, x.holders, x.waiters] for x in picture.locks],
            "mailboxes": [q.name for q in kernel.mailboxes.rows() if q.name != f"mailbox:{mine}"],
            "owed": kernel.mailboxes.owed,
            "topics": [q.name for q in kernel.topics.rows()],
            "audit": [kernel.audit.stats().lost, kernel.audit.stats().error],
        }


def _counted(names: Any) -> dict[str, int]:
    """How many of each kind; numbers in names are no kinds."""
    return dict(sorted(Counter(re.sub(r"\d+", "N", name) for name in names).items()))


def _open_files() -> Iterator[str]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            yield str(entry.readlink())
        except FileNotFoundError:  # that of the listing itself
            continue


def _tasks() -> Iterator[str]:
    for task in asyncio.all_tasks():
        yield getattr(task.get_coro(), "__qualname__", "?")


def _children() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    return [int(pid) for pid in text.split()]


async def run(socket: Path) -> None:
    """Serve the kernel until a SIGTERM."""
    config = load_config()
    claimed = claim(socket)
    settings = engine_settings(config, {})
    engine = EngineHost(
        PipeTransport(
            settings, core="random_kernel:checked_core", patience=Patience(silent_s=SILENT_S)
        ),
        restart=RestartPolicy(max_crashes=1_000, max_delay_s=0.5),
    )
    chaos = Chaos()
    chaos.kernel = kernel = Kernel(config, engine=engine)
    kernel.plugins.register(chaos, "chaos")
    stop = StopRequest()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.ask, "got SIGTERM")
    try:
        await serve(partial(started, kernel), claimed.listener, stop, drain_s=1.0)
    finally:
        claimed.release()


if __name__ == "__main__":
    import logging

    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(run(Path(sys.argv[1])))
