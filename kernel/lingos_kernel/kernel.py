"""The kernel: puts the rooms together, starts and stops them in order."""

from __future__ import annotations

import asyncio
import getpass
import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lingos_kernel
from lingos_kernel.builtins import BUILTINS
from lingos_kernel.builtins.generation import Generator
from lingos_kernel.builtins.holds import Holds
from lingos_kernel.builtins.services import Services
from lingos_kernel.builtins.tool_times import ToolTimes
from lingos_kernel.config import Config
from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.choice import make_engine
from lingos_kernel.engine.keeping import Keeping
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.requests import Requests
from lingos_kernel.engine.residency import Residency
from lingos_kernel.errors import LingOSError
from lingos_kernel.models.catalogue import DEFAULTS, CatalogueEntry
from lingos_kernel.models.store import ModelStore
from lingos_kernel.plugin_switches import PluginSwitches
from lingos_kernel.plugins import PluginHost
from lingos_kernel.processes import ProcessTable
from lingos_kernel.processes.context_store import ContextStore
from lingos_kernel.processes.exits import Exits
from lingos_kernel.processes.job_desk import JobDesk
from lingos_kernel.processes.job_runner import JobRunner
from lingos_kernel.processes.job_store import JobStore
from lingos_kernel.processes.leadership import Leadership
from lingos_kernel.processes.sessions import Sessions
from lingos_kernel.queue.broker import Broker, open_broker
from lingos_kernel.queue.clock import SteadyClock
from lingos_kernel.queue.mailbox import Mailboxes
from lingos_kernel.queue.topics import Topics
from lingos_kernel.registry import Registry
from lingos_kernel.security.audit import AuditLog
from lingos_kernel.security.principal import Principal, owner
from lingos_kernel.syscalls.admission import Bounds
from lingos_kernel.syscalls.call import Call
from lingos_kernel.syscalls.dispatch import Dispatcher, DispatchSettings
from lingos_kernel.syscalls.table import SyscallTable
from lingos_kernel.telemetry.collect import Sources, collect
from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_kernel.threads.locks import Locks
from lingos_kernel.threads.pool import ElasticPool

log = logging.getLogger(__name__)


class Kernel:
    """One resident kernel. All of it belongs to the asyncio loop that `start` runs on.

    Give it another engine, store or broker to embed it or to test with.
    """

    def __init__(
        self,
        config: Config,
        *,
        engine: Engine | None = None,
        store: ModelStore | None = None,
        broker: Broker | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes the rooms; nothing runs before `start`."""
        self.config = config
        self.clock = clock
        self.started_s = time.time()
        self._given_engine, self._given_store, self._broker = engine, store, broker
        self._tasks: set[asyncio.Task[Any]] = set()
        self.plugins = PluginHost(config.plugins, switches=PluginSwitches.at(config.paths))
        self.models, self.drivers = Registry("model"), Registry("driver")
        self.policies, self.services = Registry("scheduling policy"), Registry("service")
        self.table = SyscallTable()
        self.processes = ProcessTable(owner(getpass.getuser()), clock=clock)
        self.pool = ElasticPool(config.threads.minimum, config.threads.maximum, clock=clock)
        self.locks = Locks(self.pool.blocked)
        self.mailboxes = Mailboxes(config.queue.bound, clock=clock)
        self.topics = Topics(config.queue.bound, clock=clock)
        self.audit = AuditLog(config.paths.state_dir / "audit.jsonl")
        self.leadership = Leadership(config.paths.data_dir / "kernel.lock")
        self.dispatcher = Dispatcher(
            self.table,
            self.processes,
            self.pool,
            settings=DispatchSettings(
                bounds=Bounds(running=config.kernel.max_calls_in_flight, queued=config.queue.bound),
                call_timeout_s=config.kernel.call_timeout_s,
            ),
            hooks=self.plugins,
            audit=self.audit,
            clock=clock,
        )

    async def start(self) -> None:
        """Take calls. Plugins are loaded; the engine comes up in the background."""
        self.audit.start()
        self.dispatcher.start()
        self._attach_registries()
        await asyncio.to_thread(self.plugins.load)
        self._build()
        for name, make in BUILTINS.items():
            self.plugins.register(make(self.built), name)
        # After the built-in ones, which so keep their names; in a thread, since hooks may block.
        await asyncio.to_thread(self.plugins.attach, "syscalls", self.table)
        self._begin("engine", self._start_engine())
        if self.leadership.try_take():
            await self.sessions.restore()
            kept = await self.keeping.restore()
            self._begin("models to keep", self._bring_back(kept))
        await self.plugins.startup(self)
        self.jobs.start()
        for name, service in self.services.items.items():
            self._begin(f"service {name}", service(self))

    async def stop(self) -> None:
        """End all calls and let go of everything; safe to call twice."""
        await self.plugins.shutdown(self)
        if hasattr(self, "built"):
            await self.jobs.stop()  # before calls are cancelled: its jobs are to go on later
        await self.dispatcher.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "built"):
            await self.budgeted.stop()
            await self.broker.close()
            await self.job_store.close()
            await self.contexts.close()
            await self.sessions.close()
        self.leadership.release()
        await asyncio.to_thread(self.pool.shutdown)
        await asyncio.to_thread(self.audit.stop)

    def submit(
        self,
        principal: Principal | None,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        pid: int | None = None,
        priority: int | None = None,
        timeout_s: float | None = None,
        confirmed: bool = False,
    ) -> Call:
        """Take a call from outside; never raises: a refused call has ended in a `Failure`."""
        return self.dispatcher.submit(
            principal,
            name,
            arguments,
            pid=pid,
            priority=priority,
            timeout_s=timeout_s,
            confirmed=confirmed,
        )

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """The result of a syscall on behalf of the kernel itself, for plugins and services."""
        return await self.submit(self.processes.get(1).principal, name, arguments, pid=1).result()

    async def snapshot(self) -> Snapshot:
        """Everything at one moment."""
        return await collect(self._sources)

    def ping(self) -> dict[str, Any]:
        """Version, process and start time."""
        return {
            "version": lingos_kernel.__version__,
            "os_pid": os.getpid(),
            "started_s": self.started_s,
        }

    # Inside

    def _attach_registries(self) -> None:
        for kind, registry in (
            ("models", self.models),
            ("drivers", self.drivers),
            ("policies", self.policies),
            ("services", self.services),
        ):
            self.plugins.attach(kind, registry)

    def _build(self) -> None:
        """Make what depends on the plugins' drivers, policies and models."""
        config = self.config
        catalogue: dict[str, CatalogueEntry] = {**DEFAULTS, **self.models.items}
        self.store = self._given_store or ModelStore(config.models.store, catalogue=catalogue)
        self.broker = self._broker or open_broker(
            f"sqlite:{config.paths.data_dir / 'jobs.db'}",
            bound=config.queue.jobs,
            tenant_bound=config.queue.jobs_per_tenant,
        )
        self.engine = self._given_engine or make_engine(
            config, drivers=self.drivers.items, policies=self.policies.items
        )
        # All requests go through this one, which sees to it that their models are in memory.
        self.budgeted = BudgetedEngine(
            self.engine,
            memory_bytes=config.engine.memory_bytes,
            idle_unload_s=config.models.idle_unload_s,
            clock=self.clock,
        )
        self.residency = Residency(self.budgeted, self.store, config)
        requests = Requests(self.budgeted)
        holds = Holds(self.budgeted, self.processes, requests, clock=self.clock)
        self.processes.observe(requests)
        self.processes.observe(holds)
        for let_go in (
            holds.ended,
            requests.ended,
            self.locks.release_all,
            self.mailboxes.close,
            self.topics.close_process,
        ):
            self.processes.on_end(let_go)
        data = config.paths.data_dir
        self.sessions = Sessions(data / "processes.db", self.processes, clock=self.clock)
        self.contexts = ContextStore(data / "contexts.db")
        self.keeping = Keeping(data / "kept_models.json", self.budgeted.keeper, wall=SteadyClock())
        self.job_store = JobStore(data / "job_records.db")
        desk = JobDesk(self.job_store, self.broker)
        self.jobs = JobRunner(
            self.job_store,
            desk,
            self.broker,
            self.processes,
            self.dispatcher.submit,
            leadership=self.leadership,
            worker=f"kernel:{platform.node()}:{data}",
            workers=config.queue.workers,
        )
        self._sources = Sources(
            config=config,
            engine=self.budgeted,
            store=self.store,
            processes=self.processes,
            requests=requests,
            dispatcher=self.dispatcher,
            pool=self.pool,
            locks=self.locks,
            mailboxes=self.mailboxes,
            topics=self.topics,
            broker=self.broker,
            clock=self.clock,
            started_s=self.clock(),
        )
        self.built = Services(
            config=config,
            engine=self.budgeted,
            store=self.store,
            residency=self.residency,
            keeping=self.keeping,
            processes=self.processes,
            exits=Exits(self.processes),
            sessions=self.sessions,
            requests=requests,
            generator=Generator(self.budgeted, self.processes, requests),
            holds=holds,
            tool_times=ToolTimes(longest_s=config.engine.max_hold_s, clock=self.clock),
            table=self.table,
            dispatcher=self.dispatcher,
            plugins=self.plugins,
            pool=self.pool,
            locks=self.locks,
            mailboxes=self.mailboxes,
            topics=self.topics,
            broker=self.broker,
            desk=desk,
            jobs=self.jobs,
            contexts=self.contexts,
            policies=self.policies.items,
            snapshot=self.snapshot,
            audit=self.audit,
        )

    async def _start_engine(self) -> None:
        try:
            await self.budgeted.start()
        except LingOSError as error:  # the next call that needs the engine tells its caller
            log.error("the engine did not start: %s", error)

    async def _bring_back(self, names: Iterable[str]) -> None:
        """Load the models that were pinned or reserved before a restart, one after the other."""
        for name in names:
            try:
                await self.residency.load(await asyncio.to_thread(self.store.resolve, name))
            except LingOSError as error:
                log.error("%s is to be kept in memory, but: %s", name, error)

    def _begin(self, what: str, work: Any) -> None:
        """Run something in the background until the kernel stops; a failure is logged."""
        task = asyncio.create_task(work, name=what)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("%s failed", task.get_name(), exc_info=error)
