"""Running a syscall's function: on the loop or on a pool thread, at once or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import aclosing, closing
from typing import Any, Protocol

from lingos_kernel.errors import Cancelled, LingOSError, SyscallFailed, to_wire
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.events import AnyEvent, CallEvent, Failure, Item, Progress, Result
from lingos_kernel.syscalls.jsonable import to_jsonable
from lingos_kernel.threads.pool import ElasticPool

MAX_COLLECTED = 65_536
"""Pieces kept as the result of a generator that yields no `Result`."""
TURN = 64
"""Pieces after which a generator on the loop lets others run."""

Finish = Callable[[Call, Result | Failure, BaseException | None], None]


class Work(Protocol):
    """A function that runs, or is about to."""

    def stop(self) -> bool:
        """Its call has ended without it. True when it may go on for a while all the same."""


class TaskWork:
    """Work on the loop."""

    __slots__ = ("task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task

    def stop(self) -> bool:
        """Cancel the task."""
        return self.task.cancel()


class ThreadWork:
    """Work on a pool thread. A thread cannot be stopped; the pool stops counting on it."""

    __slots__ = ("_future", "_pool")

    def __init__(self, pool: ElasticPool, future: Future[None]) -> None:
        self._pool = pool
        self._future = future

    def stop(self) -> bool:
        """Take the function out of the pool's queue, or give up its thread."""
        return self._pool.abandon(self._future)


class Runner:
    """Starts functions and reports how each ended, always, by `finish` on the loop."""

    def __init__(
        self,
        pool: ElasticPool,
        *,
        clock: Callable[[], float],
        post: Callable[..., None],
        finish: Finish,
    ) -> None:
        """`post(function, *arguments)` runs a function on the loop, from any thread."""
        self._pool = pool
        self._clock = clock
        self._post = post
        self._finish = finish
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call, *, on_gone: Callable[[Call], None]) -> Work:
        """Begin the call's function; `on_gone` is told when it runs no more, on the loop."""
        assert call.syscall is not None
        flow = call.syscall.flow
        if flow == "coroutine":
            return self._start_task(call, self._run_coroutine(call), on_gone)
        if flow == "async_generator":
            return self._start_task(call, self._run_async_generator(call), on_gone)
        run = self._call_function
        if flow == "generator":
            call.stream.open_tickets()
            run = self._drive_generator
        future = self._pool.submit(
            lambda: self._run_on_thread(call, run, on_gone),
            syscall=call.name,
            pid=call.pid,
            priority=call.priority,
        )
        return ThreadWork(self._pool, future)

    async def drain(self, timeout_s: float) -> int:
        """Wait for the tasks to end; returns how many have not."""
        if not self._tasks:
            return 0
        _, pending = await asyncio.wait(self._tasks, timeout=timeout_s)
        return len(pending)

    # On the loop

    def _start_task(self, call: Call, coroutine: Any, on_gone: Callable[[Call], None]) -> Work:
        task = asyncio.get_running_loop().create_task(coroutine, name=call.call_id)
        self._tasks.add(task)

        def gone(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            on_gone(call)

        task.add_done_callback(gone)
        return TaskWork(task)

    async def _run_coroutine(self, call: Call) -> None:
        call.started_s = self._clock()
        try:
            outcome = _result(call, await _invoke(call))
        except BaseException as error:  # noqa: BLE001  whatever it raises ends the call, not the loop
            self._returned(call, failure(call, error), error)
        else:
            self._returned(call, outcome, None)

    async def _run_async_generator(self, call: Call) -> None:
        call.started_s = self._clock()
        pieces = Pieces(call)
        try:
            async with aclosing(_invoke(call)) as values:
                async for value in values:
                    event = pieces.take(value)
                    if event is None:
                        break
                    call.stream.put(event)
                    await call.stream.room()
                    if pieces.count % TURN == 0:
                        await asyncio.sleep(0)
            outcome = pieces.result()
        except BaseException as error:  # noqa: BLE001  as above
            self._returned(call, failure(call, error), error)
        else:
            self._returned(call, outcome, None)

    # On a pool thread

    def _run_on_thread(
        self, call: Call, run: Callable[[Call], Result], on_gone: Callable[[Call], None]
    ) -> None:
        call.started_s = self._clock()
        outcome: Result | Failure
        cause: BaseException | None = None
        try:
            outcome = run(call)
        except BaseException as error:  # noqa: BLE001  whatever it raises ends the call alone
            outcome, cause = failure(call, error), error
        self._post(self._finish_from_thread, call, outcome, cause, on_gone)

    def _finish_from_thread(
        self,
        call: Call,
        outcome: Result | Failure,
        cause: BaseException | None,
        on_gone: Callable[[Call], None],
    ) -> None:
        self._returned(call, outcome, cause)
        on_gone(call)

    def _returned(self, call: Call, outcome: Result | Failure, cause: BaseException | None) -> None:
        call.returned = True
        self._finish(call, outcome, cause)

    def _call_function(self, call: Call) -> Result:
        return _result(call, _invoke(call))

    def _drive_generator(self, call: Call) -> Result:
        pieces, tickets, context = Pieces(call), call.stream.open_tickets(), call.context
        assert context is not None
        with closing(_invoke(call)) as values:
            for value in values:
                event = pieces.take(value)
                if event is None:
                    break
                if isinstance(event, Item) and not tickets.acquire(blocking=False):
                    with self._pool.blocked("its reader"):
                        tickets.acquire()
                context.check_cancelled()
                self._post(call.stream.put, event)
        return pieces.result()


class Pieces:
    """What a generator yielded so far."""

    def __init__(self, call: Call) -> None:
        self.count = 0
        self._call = call
        self._collected: list[Any] = []
        self._result: Result | None = None

    def take(self, value: Any) -> AnyEvent | None:
        """The event for a yielded value; None when it was the `Result`."""
        if isinstance(value, Result):
            self._result = _result(self._call, value.data)
            return None
        self.count += 1
        if isinstance(value, Progress):
            return value
        if isinstance(value, CallEvent) and not isinstance(value, Item):
            raise SyscallFailed(f"{self._call.name} yielded {type(value).__name__}")
        item = Item(_plain(self._call, value.data if isinstance(value, Item) else value))
        if self.count <= MAX_COLLECTED:
            self._collected.append(item.data)
        else:
            self._collected.clear()
        return item

    def result(self) -> Result:
        """The result, after the last piece."""
        if self._result is not None:
            return self._result
        if self.count > MAX_COLLECTED:
            raise SyscallFailed(
                f"{self._call.name} streamed {self.count} pieces and gave no result",
                hint="yield Result(...) last",
            )
        return Result(self._collected)


def _invoke(call: Call) -> Any:
    assert call.syscall is not None
    if call.syscall.takes_context:
        return call.syscall.function(call.context, **call.arguments)
    return call.syscall.function(**call.arguments)


def _result(call: Call, value: Any) -> Result:
    return Result(_plain(call, value.data if isinstance(value, Result) else value))


def _plain(call: Call, value: Any) -> Any:
    try:
        return to_jsonable(value)
    except (TypeError, ValueError) as error:
        raise SyscallFailed(
            f"{call.name} gave a result that is not JSON: {error}",
            hint="return dicts, lists, texts, numbers, dataclasses or models",
        ) from error


def failure(call: Call, error: BaseException) -> Failure:
    """How a call ends that raised: its own error, or `SyscallFailed` with what was raised."""
    if isinstance(error, asyncio.CancelledError):
        error = Cancelled(f"{call.name} cancelled itself")
    if not isinstance(error, LingOSError):
        error = SyscallFailed(
            f"{call.name} raised {type(error).__name__}: {error}",
            hint="`lingos trace` and the kernel's log tell more",
            type=type(error).__name__,
        )
    wire = to_wire(error)
    try:
        return Failure(to_jsonable(wire))
    except (TypeError, ValueError):
        return Failure({**wire, "message": ascii(error.message), "details": {}})
