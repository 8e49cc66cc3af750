"""`thread.*`: the pool that runs syscalls, and named locks between processes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import InvalidArguments
from lingos_kernel.syscalls.spec import Context, syscall

Wait = Annotated[float | None, Field(ge=0, description="seconds to wait at most; 0: not at all")]


class ThreadSyscalls:
    """Threads, mutexes, read-write locks, semaphores and barriers.

    A lock belongs to the process of the call that took it, and is given back when the process
    ends: take locks from a process that lasts (a session, or `proc.open`).
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("thread.list", cost="io")
    async def list_all(self) -> list[dict[str, Any]]:
        """List the threads of the pool: what each runs for whom, and what it waits on."""
        return [asdict(row) for row in self._services.pool.rows()]

    @syscall("thread.sums", cost="io")
    async def sums(self) -> dict[str, Any]:
        """Show how the pool is sized: N = T_task / (T_avg + S), between its bounds."""
        pool = self._services.pool
        return {
            **asdict(pool.sums()),
            "minimum": pool.minimum,
            "maximum": pool.maximum,
            "waiting": pool.waiting,
        }

    @syscall("thread.locks", cost="io")
    async def locks(self) -> list[dict[str, Any]]:
        """List the named locks with their holders and waiters (pids)."""
        return [asdict(row) for row in self._services.locks.rows()]

    @syscall("thread.create_lock", cost="io")
    async def create_lock(
        self,
        context: Context,
        name: str,
        kind: Literal["mutex", "rwlock", "semaphore", "barrier"] = "mutex",
        units: Annotated[int, Field(ge=1)] = 1,
    ) -> dict[str, Any]:
        """Make a named lock, or keep one that exists alike; it ends with the last of its makers.

        Args:
            name: its name, the same for all who share it.
            kind: mutex, rwlock, semaphore or barrier.
            units: a semaphore's units, or how many a barrier waits for.
        """
        self._check_lasts(context)
        self._services.locks.create(name, kind, units=units, owner=context.pid)
        return {"name": name, "kind": kind, "units": units}

    @syscall("thread.acquire", cost="io", timeout_s=86_400)
    async def acquire(
        self,
        context: Context,
        name: str,
        shared: bool = False,
        units: Annotated[int, Field(ge=1)] = 1,
        timeout_s: Wait = None,
    ) -> dict[str, Any]:
        """Take a lock, or arrive at a barrier; waits for its turn.

        Args:
            name: a lock.
            shared: take a read-write lock for reading.
            units: how many units of a semaphore.
        """
        self._check_lasts(context)
        await self._services.locks.acquire_async(
            name, context.pid, shared=shared, units=units, timeout_s=timeout_s
        )
        return {"name": name, "pid": context.pid}

    @syscall("thread.release", cost="io")
    async def release(
        self, context: Context, name: str, units: int | None = None
    ) -> dict[str, Any]:
        """Give a lock back.

        Args:
            name: a lock that this process holds.
            units: how many units of a semaphore; what one acquire took when not given.
        """
        self._services.locks.release(name, context.pid, units=units)
        return {"name": name, "pid": context.pid}

    def _check_lasts(self, context: Context) -> None:
        """Raise `InvalidArguments` in a process that ends with this call: so would the lock."""
        if self._services.processes.get(context.pid).kind == "call":
            raise InvalidArguments(
                "this call is a process of its own: what it takes is given back as it ends",
                hint="open a process (proc.open) and call with its pid",
            )
