"""`lingos ctx`: conversations as files."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_shell.commands.call import ask_person
from lingos_shell.commands.options import model_option
from lingos_shell.common_options import common_options
from lingos_shell.invocation import Invocation
from lingos_shell.output import write_json, write_line, write_table
from lingos_shell.tables import plain_table
from lingos_shell.units import duration_text

if TYPE_CHECKING:
    from rich.table import Table

at_option = click.option("--at", type=click.IntRange(min=0), help="Cut at this token.")
shared_option = click.option("--shared", is_flag=True, help="Let the tenant read and fork it.")


@click.group("ctx")
def command() -> None:
    """Keep, fork and cut conversations.

    \b
    lingos ctx create talk
    lingos call llm.chat --context talk --messages '[{"role": "user", "content": "Hello"}]'
    lingos ctx fork talk other --at 40
    """


@command.command("create")
@click.argument("name")
@click.option("-s", "--system", metavar="TEXT", help="Begin with a system message.")
@click.option("--text", help="Begin with a text instead, for llm.complete.")
@model_option
@shared_option
@common_options
def create(
    invocation: Invocation,
    *,
    name: str,
    system: str | None,
    text: str | None,
    model: str | None,
    shared: bool,
) -> None:
    """Make a context."""
    messages = [{"role": "system", "content": system}] if system else None
    _show(
        invocation, "ctx.create", name=name, messages=messages, text=text, model=model,
        shared=shared,
    )  # fmt: skip


@command.command("list")
@common_options
def list_contexts(invocation: Invocation) -> None:
    """List the contexts."""
    rows = _call(invocation, "ctx.list")
    write_json(rows) if invocation.as_json else write_table(render(rows, now_s=time.time()))


@command.command("show")
@click.argument("name")
@common_options
def show(invocation: Invocation, *, name: str) -> None:
    """Show what was said, and the token at which each message ends."""
    found = _call(invocation, "ctx.show", name=name)
    if invocation.as_json:
        write_json(found)
        return
    for message in found["messages"]:
        mark = "" if message["whole"] else " (cut)"
        write_line(f"[{message['role']}, ends at {message['end']}{mark}]")
        write_line(str(message.get("content") or ""))


@command.command("fork")
@click.argument("name")
@click.argument("to")
@at_option
@shared_option
@common_options
def fork(invocation: Invocation, *, name: str, to: str, at: int | None, shared: bool) -> None:
    """Make a context that goes on from another; copies nothing."""
    _show(invocation, "ctx.fork", name=name, to=to, at=at, shared=shared)


@command.command("truncate")
@click.argument("name")
@click.argument("at", type=click.IntRange(min=0))
@common_options
def truncate(invocation: Invocation, *, name: str, at: int) -> None:
    """Let a context end at a token."""
    _show(invocation, "ctx.truncate", name=name, at=at)


@command.command("save")
@click.argument("name")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@common_options
def save(invocation: Invocation, *, name: str, path: Path | None) -> None:
    """Write a context to a file; without a path below the data folder."""
    saved = _call(invocation, "ctx.save", name=name, path=path and str(path.absolute()))
    write_json(saved) if invocation.as_json else write_line(saved["path"])


@command.command("open")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", help="The new context's name; the one it had when not given.")
@shared_option
@common_options
def open_file(invocation: Invocation, *, path: Path, name: str | None, shared: bool) -> None:
    """Make a context of a saved file."""
    _show(invocation, "ctx.open", path=str(path.absolute()), name=name, shared=shared)


@command.command("remove")
@click.argument("names", nargs=-1, required=True)
@click.option("-y", "--yes", "is_confirmed", is_flag=True, help="Answer yes.")
@common_options
def remove(invocation: Invocation, *, names: tuple[str, ...], is_confirmed: bool) -> None:
    """Forget contexts for good."""
    if not is_confirmed:
        ask_person("ctx.remove", {"names": list(names)})

    async def work(client: KernelClient) -> None:
        for name in names:
            await client.with_options(confirmed=True).call("ctx.remove", name=name)

    invocation.run(work)
    if invocation.as_json:
        write_json({"removed": list(names)})


def _call(invocation: Invocation, name: str, /, **arguments: Any) -> Any:
    async def work(client: KernelClient) -> Any:
        return await client.call(name, **arguments)

    return invocation.run(work)


def _show(invocation: Invocation, name: str, /, **arguments: Any) -> None:
    """Call what answers with a context, and say what it is now."""
    head = _call(invocation, name, **arguments)
    if invocation.as_json:
        write_json(head)
    else:
        write_line(f"{head['name']} has {head['tokens']} tokens of {head['model']}")


def render(rows: Iterable[dict[str, Any]], *, now_s: float) -> Table:
    """One row per context."""
    return plain_table(
        ("NAME", "TOKENS", "MODEL", "OWNER", "CHANGED", "FORKED FROM"),
        [
            (
                row["name"],
                str(row["tokens"]),
                row["model"],
                f"{row['owner']} (shared)" if row["shared"] else row["owner"],
                f"{duration_text(max(now_s - row['updated_s'], 0.0))} ago",
                row["forked_from"],
            )
            for row in rows
        ],
        right=("TOKENS",),
    )
