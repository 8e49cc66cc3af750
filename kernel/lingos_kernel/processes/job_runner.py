"""Does the durable jobs: claims them, runs each as a process of its own, records how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec

from lingos_kernel.errors import Cancelled, LingOSError, UnknownProcess, from_wire, to_wire
from lingos_kernel.processes.job_desk import QUEUE, Address, JobDesk
from lingos_kernel.processes.job_store import JobStore
from lingos_kernel.processes.jobs import JobRecord, JobRequest, verdict
from lingos_kernel.processes.leadership import Leadership
from lingos_kernel.processes.process import Process, Signal
from lingos_kernel.processes.rights import owns
from lingos_kernel.processes.table import KERNEL_PID, ProcessTable
from lingos_kernel.queue.broker import Broker
from lingos_kernel.queue.jobs import Job
from lingos_kernel.security.principal import Principal

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_AGAIN_S = 1.0
"""How often an idle runner looks for jobs that another kernel has accepted."""
VISIBILITY_S = 60.0
"""A claim is extended three times as often."""
BATCH = 500


class RunningCall(Protocol):
    """A call that does a job."""

    async def result(self) -> Any:
        """Its result; raises the error that it ended in."""

    def cancel(self, reason: str = ...) -> None:
        """End it as cancelled."""


class Submit(Protocol):
    """Begins a call through the pipeline; `Dispatcher.submit` is one."""

    def __call__(
        self,
        principal: Principal | None,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        pid: int | None = None,
        confirmed: bool | None = None,
    ) -> RunningCall:
        """The call, which belongs to the process."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    process: Process
    call: RunningCall


class JobRunner:
    """Runs jobs for the leading kernel, at most so many at one time (stopped ones not counted).

    Observes the process table, to hold stopped jobs over a restart too.
    """

    def __init__(
        self,
        store: JobStore,
        desk: JobDesk,
        broker: Broker,
        processes: ProcessTable,
        submit: Submit,
        *,
        leadership: Leadership,
        worker: str,
        workers: int,
        visibility_s: float = VISIBILITY_S,
    ) -> None:
        """`worker`: the same name for each life of this kernel; its claims are taken back."""
        self._store = store
        self._desk = desk
        self._broker = broker
        self._processes = processes
        self._submit = submit
        self._leadership = leadership
        self._worker = worker
        self._workers = workers
        self._visibility_s = visibility_s
        self._attempts: dict[int, _Attempt] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._notes: set[asyncio.Task[None]] = set()
        """Writes that are under way."""
        self._slot = asyncio.Event()
        self._is_recovered = False
        self._main: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run jobs from now on, or as soon as this kernel leads."""
        self._processes.observe(self)
        if self._workers:
            self._main = asyncio.create_task(self._run(), name="job runner")

    async def stop(self) -> None:
        """Break the running jobs off; the next kernel begins them again. Safe to call twice."""
        tasks = [*self._tasks, *([self._main] if self._main else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._notes, return_exceptions=True)

    # Which jobs

    async def _run(self) -> None:
        while not self._leadership.is_held:
            await self._patiently(self._leadership.take)
        while not self._is_recovered:
            await self._patiently(self._recover)
        while True:
            await self._patiently(self._next)

    async def _next(self) -> None:
        """Start the next jobs, once there is a slot and there are any."""
        self._slot.clear()
        if (free := self._workers - self._busy()) < 1:
            await self._slot.wait()
            return
        for claimed in await self._claim(free):
            self._begin(self._work(claimed), self._tasks)

    async def _patiently(self, act: Callable[[], Awaitable[None]]) -> None:
        """Act; a store that fails for now (a full disk) is given a moment."""
        try:
            await act()
        except LingOSError as error:
            log.error("jobs have to wait: %s", error)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _recover(self) -> None:
        """Take back what an earlier kernel was doing, and what it accepted last."""
        claims = await self._broker.recover(self._worker)
        begun = await self._store.recover()
        records = await self._store.live(limit=BATCH)
        while records:
            await self._desk.enqueue(records)
            records = await self._store.live(after=records[-1].number, limit=BATCH)
        self._is_recovered = True
        if claims or begun:
            log.info("%d jobs of an earlier kernel begin again", begun)

    def _busy(self) -> int:
        stopped = sum(attempt.process.stopped for attempt in self._attempts.values())
        return len(self._tasks) - stopped

    async def _claim(self, limit: int) -> list[Job]:
        """Jobs to do; [] when none came for a while, or one in a queue that was not looked at."""
        self._desk.submitted.clear()
        queues = [QUEUE + name for name in await self._store.queues()]
        news = asyncio.ensure_future(self._desk.submitted.wait())
        claim = asyncio.ensure_future(
            self._broker.claim(
                queues,
                self._worker,
                visibility_s=self._visibility_s,
                limit=limit,
                wait_s=LOOK_AGAIN_S,
            )
        )
        try:
            await asyncio.wait({news, claim}, return_when=asyncio.FIRST_COMPLETED)
            return claim.result() if claim.done() else []
        finally:
            news.cancel()
            claim.cancel()  # one that is not done claims nothing

    def _begin(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        def note_end(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            self._slot.set()
            if not task.cancelled() and (error := task.exception()):
                log.error("a job could not be kept up", exc_info=error)

        task = asyncio.create_task(work)
        tasks.add(task)
        task.add_done_callback(note_end)

    # One job

    async def _work(self, claimed: Job) -> None:
        """Do a claimed job: from here it is begun, or ended, or left to a later claim."""
        address = _address(claimed)
        if address is None:
            log.error("a message in the job queue %s is no job", claimed.queue)
            await self._broker.acknowledge(claimed)
            return
        number = address.number
        if number in self._attempts:  # its claim was lost; its end will be recorded all the same
            return
        token = f"{claimed.worker}:{claimed.job_id}:{claimed.receipt}"
        what, record = await _kept_up(lambda: self._store.begin(number, address.round, token))
        if what == "run" and record is not None:
            try:
                if not await self._attempt(record, claimed, token):
                    return
            except asyncio.CancelledError:
                await self._store.release(number, token)
                raise
        # The end is recorded before: a kernel that dies in between finds it and does nothing.
        await _kept_up(lambda: self._broker.acknowledge(claimed))
        self._desk.tell(number)

    async def _attempt(self, record: JobRecord, claimed: Job, token: str) -> bool:
        """Run the syscall and record how it ended; False when it is to be tried again."""
        number, request = record.number, record.request
        process = self._open(record)
        why = "broken off"
        try:
            call = self._submit(
                process.principal,
                request.syscall,
                request.arguments,
                pid=process.pid,
                confirmed=request.confirmed,
            )
            self._attempts[number] = _Attempt(process, call)
            async with self._keeping(claimed, number, token, call):
                result = await call.result()
            why = "done"
            await _kept_up(lambda: self._store.succeed(number, token, result))
        except Exception as error:  # noqa: BLE001  recorded: it is the job's end, not the runner's
            failure = from_wire(to_wire(error))
            fate = await _kept_up(lambda: self._record_failure(record, claimed, token, failure))
            why = f"{fate}: {error}"
            return fate != "retry"
        finally:
            self._attempts.pop(number, None)
            self._processes.close(process.pid, why)
        return True

    async def _record_failure(
        self, record: JobRecord, claimed: Job, token: str, error: LingOSError
    ) -> str:
        fate = verdict(error, record)
        if fate == "retry":
            await self._store.retry(record.number, token, error)
            await self._broker.fail(claimed, str(error))
        else:
            await self._store.fail(record.number, token, fate, error)
        return fate

    def _open(self, record: JobRecord) -> Process:
        """The job's process: the submitter's child where that still lives, stopped if it was."""
        request = record.request
        kernel = self._processes.get(KERNEL_PID).principal
        # What was granted at submission, and never more than the kernel's owner may do now.
        principal = request.principal.restricted_to(kernel.capabilities)
        process = self._processes.open(
            principal,
            f"{request.syscall} (job {record.number})",
            kind="job",
            parent=self._parent(request, principal),
            priority=request.priority,
            limits=request.limits,
        )
        process.job = self._desk.key(record)
        if record.stopped:
            self._processes.signal(process.pid, Signal.STOP, by=principal)
        return process

    def _parent(self, request: JobRequest, principal: Principal) -> int:
        try:
            parent = self._processes.get(request.parent)
        except UnknownProcess:
            return KERNEL_PID
        is_the_one = parent.is_durable or request.boot == self._desk.boot
        return parent.pid if is_the_one and owns(principal, parent) else KERNEL_PID

    @asynccontextmanager
    async def _keeping(
        self, claimed: Job, number: int, token: str, call: RunningCall
    ) -> AsyncIterator[None]:
        """Keep the claim while the block runs; end the call when the job was called off."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(self._visibility_s / 3)
                try:
                    await self._broker.extend(claimed, self._visibility_s)
                    if not await self._store.holds(number, token):
                        call.cancel(f"job {number} was called off")
                except LingOSError as error:
                    log.error("the claim of job %d could not be extended: %s", number, error)

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()

    def pid(self, number: int) -> int | None:
        """The process that does a job; None when it does not run in this kernel."""
        attempt = self._attempts.get(number)
        return attempt.process.pid if attempt else None

    def call_off(self, number: int) -> None:
        """End the call of a job that was cancelled, if it runs here."""
        if attempt := self._attempts.get(number):
            attempt.call.cancel(f"job {number} was called off")

    # What processes do to jobs (`ProcessObserver`)

    def cancel_calls(self, pid: int, reason: str) -> None:
        """Nothing to do: a call that is cancelled ends its job."""

    def reniced(self, pid: int, priority: int) -> None:
        """Nothing to do: it holds for this attempt."""

    def stopped(self, pid: int) -> None:
        """Remember that a job is held, and let another take its slot."""
        self._remember_stopped(pid, True)

    def continued(self, pid: int) -> None:
        """Remember that it goes on."""
        self._remember_stopped(pid, False)

    def _remember_stopped(self, pid: int, stopped: bool) -> None:
        for number, attempt in self._attempts.items():
            if attempt.process.pid == pid:
                self._begin(self._store.set_stopped(number, stopped), self._notes)
                self._slot.set()


async def _kept_up(write: Callable[[], Awaitable[T]]) -> T:
    """Write what has happened, however long the store takes to have room for it again.

    What was done is not done again because the disk was full when its end was to be recorded.
    """
    while True:
        try:
            return await write()
        except Cancelled:  # the store is closed
            raise
        except LingOSError as error:
            log.error("what became of a job has to wait: %s", error)
            await asyncio.sleep(LOOK_AGAIN_S)


def _address(claimed: Job) -> Address | None:
    try:
        return msgspec.json.decode(claimed.payload, type=Address)
    except msgspec.MsgspecError:
        return None
