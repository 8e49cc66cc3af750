"""`lingos job`: syscalls that are done in the background, also over a restart of the kernel."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.arguments import parse_arguments
from lingos_shell.commands.call import ask_person, result_text
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_syscalls
from lingos_shell.inputs import read_text
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line, write_table
from lingos_shell.syscall_help import find_syscall
from lingos_shell.tables import plain_table
from lingos_shell.units import duration_text

if TYPE_CHECKING:
    from rich.table import Table

STATES = ("waiting", "running", "done", "failed", "cancelled")


@click.group("job")
def command() -> None:
    """Have syscalls done in the background, whatever happens.

    A job that was accepted is done, once, even if the kernel is killed meanwhile.
    """


@command.command("submit", context_settings={"ignore_unknown_options": True})
@click.argument("name", shell_complete=complete_syscalls)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--ARGUMENT VALUE]...")
@click.option("--queue", default="default", show_default=True, help="Which queue it waits in.")
@click.option("--delay", "delay_s", type=float, default=0.0, metavar="SECONDS", help="Not before.")
@click.option("--attempts", type=int, default=5, show_default=True, help="Tries at most.")
@click.option("--key", default="", help="The same key again is the same job.")
@click.option("-y", "--yes", "is_confirmed", is_flag=True, help="Answer yes.")
@common_options
def submit(
    invocation: Invocation,
    *,
    name: str,
    words: tuple[str, ...],
    queue: str,
    delay_s: float,
    attempts: int,
    key: str,
    is_confirmed: bool,
) -> None:
    """Submit a syscall; writes the job's id.

    \b
    lingos job submit text.summarize --file report.txt
    lingos job result 17
    """

    async def work(client: KernelClient) -> dict[str, Any]:
        info = find_syscall(await client.syscalls(), name)
        arguments = parse_arguments(words, info.arguments, read_file=read_text)
        if info.confirm:
            if not is_confirmed:
                ask_person(info.name, arguments)
            client = client.with_options(confirmed=True)
        job: dict[str, Any] = await client.call(
            "job.submit",
            syscall=name,
            arguments=arguments,
            queue=queue,
            delay_s=delay_s,
            max_attempts=attempts,
            idempotency_key=key,
        )
        return job

    job = invocation.run(work)
    write_json(job) if invocation.as_json else write_line(job["job_id"])


@command.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=100, help="How many at most.")
@common_options
def list_jobs(invocation: Invocation, *, state: str | None, limit: int) -> None:
    """List the jobs, the newest first."""

    async def fetch(client: KernelClient) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await client.call("job.list", state=state, limit=limit)
        return rows

    rows = invocation.run(fetch)
    write_json(rows) if invocation.as_json else write_table(render(rows, now_s=time.time()))


@command.command("show")
@click.argument("job_id")
@common_options
def show(invocation: Invocation, *, job_id: str) -> None:
    """Show everything known about a job."""
    write_json(_call(invocation, "job.show", job_id=job_id))


@command.command("result")
@click.argument("job_id")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Wait at most so long (exit code 4).",
)
@common_options
def result(invocation: Invocation, *, job_id: str, timeout_s: float | None) -> None:
    """Wait for a job, and write its result or its error."""
    found = _call(invocation, "job.result", job_id=job_id, wait_s=timeout_s)
    if invocation.as_json:
        write_json(found)
    else:
        is_answer = isinstance(found, dict) and "text" in found
        write_line(result_text(found["text"] if is_answer else found))


@command.command("cancel")
@click.argument("job_id")
@common_options
def cancel(invocation: Invocation, *, job_id: str) -> None:
    """End a job without a result."""
    done = _call(invocation, "job.cancel", job_id=job_id)
    if invocation.as_json:
        write_json(done)
    else:
        what = "was cancelled" if done["cancelled"] else "had ended before"
        write_line(f"job {job_id} {what}")


@command.command("retry")
@click.argument("job_id")
@common_options
def retry(invocation: Invocation, *, job_id: str) -> None:
    """Start a failed or cancelled job over."""
    done = _call(invocation, "job.retry", job_id=job_id)
    write_json(done) if invocation.as_json else write_line(f"job {job_id} is {done['state']}")


def _call(invocation: Invocation, name: str, **arguments: Any) -> Any:
    async def work(client: KernelClient) -> Any:
        return await client.call(name, **arguments)

    return invocation.run(work)


def render(rows: Iterable[dict[str, Any]], *, now_s: float) -> Table:
    """One row per job."""
    return plain_table(
        ("JOB", "STATE", "TRIES", "AGE", "SYSCALL", "ERROR"),
        [
            (
                row["job_id"],
                "stopped" if row["stopped"] else row["state"],
                f"{row['attempts']}/{row['max_attempts']}",
                duration_text(max(now_s - row["submitted_s"], 0.0)),
                row["syscall"],
                row["error"]["message"] if row["error"] else "",
            )
            for row in rows
        ],
        right=("JOB", "TRIES", "AGE"),
    )
