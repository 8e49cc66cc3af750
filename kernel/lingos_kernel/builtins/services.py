"""What the built-in syscalls are made of: the kernel's rooms, handed over once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from lingos_kernel.builtins.generation import Generator
from lingos_kernel.builtins.holds import Holds
from lingos_kernel.builtins.tool_times import ToolTimes
from lingos_kernel.config import Config
from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.keeping import Keeping
from lingos_kernel.engine.requests import Requests
from lingos_kernel.engine.residency import Residency
from lingos_kernel.models.progress import PullProgress
from lingos_kernel.models.store import ModelStore
from lingos_kernel.plugins import PluginHost
from lingos_kernel.processes.context_store import ContextStore
from lingos_kernel.processes.exits import Exits
from lingos_kernel.processes.job_desk import JobDesk
from lingos_kernel.processes.job_runner import JobRunner
from lingos_kernel.processes.sessions import Sessions
from lingos_kernel.processes.table import ProcessTable
from lingos_kernel.queue.broker import Broker
from lingos_kernel.queue.mailbox import Mailboxes
from lingos_kernel.queue.topics import Topics
from lingos_kernel.scheduling.policy import Policy
from lingos_kernel.security.audit import AuditLog
from lingos_kernel.syscalls.dispatch import Dispatcher
from lingos_kernel.syscalls.spec import Context
from lingos_kernel.syscalls.table import SyscallTable
from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_kernel.threads.locks import Locks
from lingos_kernel.threads.pool import ElasticPool


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms that built-in syscalls use."""

    config: Config
    engine: BudgetedEngine
    store: ModelStore
    residency: Residency
    keeping: Keeping
    processes: ProcessTable
    exits: Exits
    sessions: Sessions
    requests: Requests
    generator: Generator
    holds: Holds
    tool_times: ToolTimes
    table: SyscallTable
    dispatcher: Dispatcher
    plugins: PluginHost
    pool: ElasticPool
    locks: Locks
    mailboxes: Mailboxes
    topics: Topics
    broker: Broker
    desk: JobDesk
    jobs: JobRunner
    contexts: ContextStore
    policies: Mapping[str, type[Policy]]
    """The scheduling policies of plugins, by name."""
    snapshot: Callable[[], Awaitable[Snapshot]]
    audit: AuditLog


def pull_progress(context: Context) -> Callable[[PullProgress], None]:
    """Forwards a download's progress to the caller."""

    def tell(progress: PullProgress) -> None:
        label = f"{progress.phase} {progress.model}"
        context.progress(progress.done_bytes, progress.total_bytes, unit="B", label=label)

    return tell
