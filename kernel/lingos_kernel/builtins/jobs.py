"""`job.*`: syscalls that are done whatever happens to the kernel meanwhile."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import Field

from lingos_kernel.builtins.services import Services
from lingos_kernel.errors import (
    Cancelled,
    ConfirmationRequired,
    InvalidArguments,
    LingOSError,
    NotPermitted,
    from_wire,
)
from lingos_kernel.processes.jobs import JobRecord, JobRequest, JobState, describe
from lingos_kernel.processes.rights import check_priority
from lingos_kernel.syscalls.spec import Context, syscall

DAY_S = 86_400.0
Seconds = Annotated[float | None, Field(ge=0)]


class JobSyscalls:
    """Submit jobs and ask for them; each belongs to the principal who submitted it."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @syscall("job.submit", cost="io")
    async def submit(
        self,
        context: Context,
        syscall: str,
        arguments: dict[str, Any] | None = None,
        queue: Annotated[str, Field(min_length=1, max_length=128)] = "default",
        priority: Annotated[int, Field(ge=-20, le=19)] = 0,
        delay_s: Annotated[float, Field(ge=0)] = 0.0,
        max_attempts: Annotated[int, Field(ge=1)] = 5,
        idempotency_key: str = "",
        expires_s: Seconds = None,
    ) -> dict[str, Any]:
        """Have a syscall done in the background, once, even if the kernel dies meanwhile.

        It runs with the caller's capabilities of now. Its work may be begun again: when it failed
        in a way that may pass, or when the kernel died in the middle. Its end is recorded once.

        Args:
            syscall: what to do.
            arguments: with which arguments.
            queue: a name; jobs of one queue share a bound.
            priority: -20 (most urgent) to 19.
            delay_s: seconds before it may begin.
            max_attempts: how often it is begun at most.
            idempotency_key: submitting the same key again gives the job that is there.
            expires_s: seconds after which a job that nobody has begun fails.
        """
        self._check(context, syscall, arguments or {})
        check_priority(priority, by=context.principal, now=0)
        request = JobRequest(
            principal=context.principal,
            syscall=syscall,
            arguments=_plain(syscall, arguments or {}),
            queue=queue,
            priority=priority,
            delay_s=delay_s,
            max_attempts=max_attempts,
            idempotency_key=idempotency_key,
            expires_s=expires_s,
            confirmed=context.confirmed,
            limits=self._services.processes.remaining(context.pid),
            parent=context.pid,
            boot=self._services.desk.boot,
        )
        record = await self._services.desk.submit(request)
        return {"job_id": str(record.number), "state": record.state}

    @syscall("job.result", cost="io", timeout_s=DAY_S)
    async def result(self, context: Context, job_id: str, wait_s: Seconds = None) -> Any:
        """The result of a job, waiting for it; raises the error that the job ended in.

        Args:
            job_id: a job of the caller.
            wait_s: seconds to wait at most; 0 asks for a job that has ended.
        """
        record = await self._services.desk.wait(job_id, context.principal, timeout_s=wait_s)
        if record.state == "done":
            return msgspec.json.decode(record.result)
        raise _error(record)

    @syscall("job.show", cost="io")
    async def show(self, context: Context, job_id: str) -> dict[str, Any]:
        """Show a job: what it is, its state, its attempts and its last error.

        Args:
            job_id: a job of the caller.
        """
        return self._described(await self._services.desk.get(job_id, context.principal))

    @syscall("job.list", cost="io")
    async def list_all(
        self,
        context: Context,
        state: JobState | None = None,
        queue: str | None = None,
        limit: Annotated[int, Field(ge=1, le=10_000)] = 100,
    ) -> list[dict[str, Any]]:
        """List the caller's jobs, the newest first; failed ones are the dead letters.

        Args:
            state: only those waiting, running, done, failed or cancelled.
            queue: only those of a queue.
            limit: how many to list.
        """
        records = await self._services.desk.list(
            context.principal, state=state, queue=queue, limit=limit
        )
        return [self._described(record) for record in records]

    @syscall("job.cancel", cost="io")
    async def cancel(self, context: Context, job_id: str) -> dict[str, Any]:
        """End a job without a result; `cancelled` is false when it had ended before.

        Args:
            job_id: a job of the caller.
        """
        is_cancelled = await self._services.desk.cancel(job_id, context.principal)
        if is_cancelled:
            self._services.jobs.call_off(int(job_id))
        return {"job_id": job_id, "cancelled": is_cancelled}

    @syscall("job.retry", cost="io")
    async def retry(self, context: Context, job_id: str) -> dict[str, Any]:
        """Start a failed or cancelled job over, with all its attempts.

        Args:
            job_id: a job of the caller.
        """
        record = await self._services.desk.retry(job_id, context.principal)
        return self._described(record)

    def _described(self, record: JobRecord) -> dict[str, Any]:
        return {**describe(record), "pid": self._services.jobs.pid(record.number)}

    def _check(self, context: Context, name: str, arguments: dict[str, Any]) -> None:
        """Raise what the call would be refused with, now rather than later."""
        syscall = self._services.table.get(name)
        if not context.principal.may(syscall.info.capability):
            raise NotPermitted(
                f"{context.principal.name} may not call {name}",
                hint=f"it needs the capability {syscall.info.capability}",
                capability=syscall.info.capability,
            )
        syscall.validate(arguments)
        if syscall.info.confirm and not context.confirmed:
            raise ConfirmationRequired(
                f"{name} wants a person's yes: {syscall.info.summary}",
                hint="confirm the call of job.submit",
                syscall=name,
                arguments=arguments,
            )


def _plain(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as they will be read again."""
    try:
        return msgspec.json.decode(msgspec.json.encode(arguments), type=dict[str, Any])
    except (TypeError, ValueError) as error:
        raise InvalidArguments(
            f"the arguments of {name} have no JSON form: {error}",
            hint="use texts, numbers, lists and dictionaries",
        ) from error


def _error(record: JobRecord) -> LingOSError:
    if record.state == "cancelled" and not record.error:
        return Cancelled(f"job {record.number} was cancelled")
    return from_wire(msgspec.json.decode(record.error))
