"""The blocking façade over a client, for scripts, notebooks and the REPL."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import Cancelled, KernelUnavailable

if TYPE_CHECKING:
    from lingos_kernel.config import Config
    from lingos_kernel.security.principal import CallerKind
    from lingos_kernel.syscalls.events import AnyEvent
    from lingos_kernel.syscalls.spec import SyscallInfo

T = TypeVar("T")
INTERRUPT_S = 2.0
"""How long Ctrl-C waits until the kernel has been told."""


class LoopThread:
    """An event loop in a thread of its own; `run` waits for a coroutine there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lingos-client", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs: not after `close`, and not in a forked child."""
        return self._thread.is_alive()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. Ctrl-C cancels it there, waits for its end, then raises."""
        if not self.is_alive:
            coroutine.close()
            raise KernelUnavailable("this client is closed", hint="connect again")
        begun: list[asyncio.Task[T]] = []
        done: Future[T] = Future()

        def begin() -> None:
            begun.append(self._loop.create_task(coroutine))
            begun[0].add_done_callback(lambda task: _hand_over(task, done))

        def stop() -> None:
            if begun:
                begun[0].cancel()
            else:
                coroutine.close()
                done.cancel()

        try:
            self._loop.call_soon_threadsafe(begin)
            return done.result()
        except BaseException:
            if not done.done():  # it is this thread that was interrupted
                self._loop.call_soon_threadsafe(stop)
                wait([done], timeout=INTERRUPT_S)
            raise

    def close(self) -> None:
        """End the loop and its thread; safe to call twice."""
        if self.is_alive:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def _hand_over(task: asyncio.Task[T], done: Future[T]) -> None:
    """Pass a task's outcome to the thread that waits for it."""
    if task.cancelled():
        done.set_exception(Cancelled("the call was interrupted"))
    elif error := task.exception():
        done.set_exception(error)
    else:
        done.set_result(task.result())


class SyncClient:
    """A `KernelClient` without await. `client.sys.text.summarize(text=...)` calls a syscall.

    Safe to use from several threads. Leaves at the end of the program, or with `close()`.
    """

    def __init__(self, connect: Callable[[], Awaitable[KernelClient]]) -> None:
        """`connect` makes the client in the façade's own loop; raises what it raises."""
        self._thread = LoopThread()
        try:
            self._client = self._thread.run(_await(connect()))
        except BaseException:
            self._thread.close()
            raise
        self._leave = weakref.finalize(self, _leave, self._thread, self._client)
        self._origin: SyncClient | None = None
        """The client that a view keeps open."""

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._leave()

    @property
    def sys(self) -> Namespace:
        """The syscalls as attributes."""
        return Namespace(self)

    def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall; raises the `LingOSError` that it ended in. Ctrl-C cancels it."""
        return self._thread.run(self._client.call(name, **arguments))

    def stream(self, name: str, /, **arguments: Any) -> Generator[AnyEvent, None, None]:
        """The events of a syscall; closing the generator early, or Ctrl-C, cancels the call."""
        events = self._client.stream(name, **arguments)
        try:
            while (event := self._thread.run(_next(events))) is not None:
                yield event
        finally:
            self._thread.run(events.aclose())

    def syscalls(self) -> list[SyscallInfo]:
        """Every syscall that the caller may use, sorted by name."""
        return self._thread.run(self._client.syscalls())

    def open_process(self, command: str, *, kind: str = "session", priority: int = 0) -> int:
        """Open a process that the following calls belong to; returns its pid."""
        opening = self._client.open_process(command, kind=kind, priority=priority)
        return self._thread.run(opening)

    def ping(self) -> dict[str, Any]:
        """Version, os_pid and started_s of the kernel, and a warning if versions differ."""
        return self._thread.run(self._client.ping())

    def with_options(
        self,
        *,
        caller: CallerKind | None = None,
        pid: int | None = None,
        priority: int | None = None,
        confirmed: bool | None = None,
        timeout_s: float | None = None,
    ) -> SyncClient:
        """A view of this client with other options; it ends with the original."""
        view = SyncClient.__new__(SyncClient)
        view._thread, view._leave = self._thread, self._leave
        view._origin = self
        view._client = self._client.with_options(
            caller=caller, pid=pid, priority=priority, confirmed=confirmed, timeout_s=timeout_s
        )
        return view


class Namespace:
    """Syscalls by attribute: `sys.llm.chat(prompt=x)` is `client.call("llm.chat", prompt=x)`."""

    def __init__(self, client: SyncClient, name: str = "") -> None:
        self._client = client
        self._name = name

    def __getattr__(self, name: str) -> Namespace:
        if name.startswith("_"):  # what Python and notebooks look for is no syscall
            raise AttributeError(name)
        return Namespace(self._client, f"{self._name}.{name}" if self._name else name)

    def __call__(self, **arguments: Any) -> Any:
        """The result of the syscall of this name."""
        return self._client.call(self._name, **arguments)

    def __dir__(self) -> list[str]:
        prefix = f"{self._name}." if self._name else ""
        below = (i.name for i in self._client.syscalls() if i.name.startswith(prefix))
        return sorted({name.removeprefix(prefix).split(".")[0] for name in below})

    def __repr__(self) -> str:
        return f"<syscalls {self._name or '(all)'}>"


def connect(config: Config | None = None, *, start: bool = True, local: bool = False) -> SyncClient:
    """A blocking client of the running kernel, which is started if there is none.

    `config` defaults to the user's settings; `local` embeds a kernel in this process instead.
    Raises `KernelUnavailable`.
    """
    from lingos_kernel.client.connect import connect as connect_async

    return SyncClient(lambda: connect_async(config, start=start, local=local))


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _next(events: Any) -> AnyEvent | None:
    event: AnyEvent | None = await anext(events, None)
    return event


def _leave(thread: LoopThread, client: KernelClient) -> None:
    if thread.is_alive:
        thread.run(client.__aexit__(None, None, None))
        thread.close()
