"""`lingos call`: any syscall, its arguments typed by its schema."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import click

from lingos_kernel.client.protocol import KernelClient
from lingos_kernel.errors import Cancelled, ConfirmationRequired
from lingos_kernel.syscalls.events import Accepted, AnyEvent
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import parse_arguments
from lingos_shell.calls import follow, ignore
from lingos_shell.commands.options import timeout_option
from lingos_shell.common_options import common_options
from lingos_shell.completion import complete_syscalls
from lingos_shell.generation import AnswerPrinter
from lingos_shell.inputs import json_object, read_text, require_unicode
from lingos_shell.invocation import Invocation
from lingos_shell.output import is_terminal, narrate, write_json, write_json_line, write_line
from lingos_shell.syscall_help import find_syscall, help_text


@click.command(
    "call",
    # The words belong to the syscall, so options that click does not know are left to it.
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("name", required=False, shell_complete=complete_syscalls)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--ARGUMENT VALUE]...")
@click.option("--args-json", metavar="FILE|JSON", help="All arguments as one JSON object.")
@click.option("-y", "--yes", "--confirm", "is_confirmed", is_flag=True, help="Answer yes.")
@click.option("--no-stream", is_flag=True, help="Write the result only, when it is whole.")
@timeout_option
@click.option("-h", "--help", "wants_help", is_flag=True, help="Explain the syscall and leave.")
@common_options
@click.pass_context
def command(
    context: click.Context,
    invocation: Invocation,
    *,
    name: str | None,
    words: tuple[str, ...],
    args_json: str | None,
    is_confirmed: bool,
    no_stream: bool,
    timeout_s: float | None,
    wants_help: bool,
) -> None:
    """Call any syscall with its arguments.

    Its schema says which there are and of what type. Streamed pieces are written as they come.
    With --json a syscall that streams writes its events as lines of JSON, any other one document.

    \b
    lingos call text.summarize --file report.txt
    lingos call llm.tokenize --text @report.txt          # @file: its contents
    lingos call text.extract --schema @schema.json --text "Ada, 36, London"
    lingos call llm.chat --help
    """
    if name is None:
        if not wants_help:
            raise click.UsageError("which syscall? `lingos syscalls` lists them", context)
        write_line(context.get_help())
        return
    request = _Request(
        name=name,
        words=tuple(require_unicode(word, "an argument") for word in words),
        given=json_object(args_json, "--args-json") if args_json else {},
        is_confirmed=is_confirmed,
        is_streaming=not no_stream,
        as_json=invocation.as_json,
        timeout_s=timeout_s,
    )

    async def work(client: KernelClient) -> None:
        info = find_syscall(await client.syscalls(), name)
        if wants_help:
            write_json(info) if invocation.as_json else write_line(help_text(info))
        else:
            await request.perform(client, info)

    invocation.run(work)


@dataclass(frozen=True, slots=True)
class _Request:
    """One call as it was typed."""

    name: str
    words: tuple[str, ...]
    given: dict[str, Any]
    is_confirmed: bool
    is_streaming: bool
    as_json: bool
    timeout_s: float | None

    async def perform(self, client: KernelClient, info: SyscallInfo) -> None:
        """Make the call and write what it brings."""
        arguments = parse_arguments(
            self.words, info.arguments, read_file=read_text, given=self.given
        )
        if info.confirm:
            if not self.is_confirmed:
                ask_person(info.name, arguments)
            client = client.with_options(confirmed=True)
        if self.as_json:
            await self._as_json(client, info, arguments)
        else:
            await self._as_text(client, arguments)

    async def _as_json(
        self, client: KernelClient, info: SyscallInfo, arguments: dict[str, Any]
    ) -> None:
        is_streaming = info.streams and self.is_streaming
        result = await follow(
            client,
            self.name,
            arguments,
            on_event=_write_event if is_streaming else ignore,
            timeout_s=self.timeout_s,
        )
        if not is_streaming:
            write_json(result)

    async def _as_text(self, client: KernelClient, arguments: dict[str, Any]) -> None:
        printer = _ItemPrinter()
        try:
            result = await follow(
                client,
                self.name,
                arguments,
                on_item=printer.item if self.is_streaming else ignore,
                timeout_s=self.timeout_s,
            )
        finally:
            printer.finish()
        if not printer.has_shown:
            write_line(result_text(result))


class _ItemPrinter(AnswerPrinter):
    """Writes text pieces as text and every other item as a line of JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.has_shown = False

    def item(self, data: Any) -> None:
        """Show one streamed item."""
        self.has_shown = True
        if isinstance(data, str):
            super().item({"text": data})
        elif isinstance(data, dict) and data.keys() & {"text", "tool_call", "tool_result"}:
            super().item(data)
        else:
            self.finish()
            write_json_line(data)


def result_text(result: Any) -> str:
    """A result as people read it: text as it is, everything else as indented JSON."""
    if isinstance(result, str):
        return result.rstrip("\n")
    if result is None:
        return ""
    return json.dumps(result, indent=2, ensure_ascii=False)


def ask_person(name: str, arguments: dict[str, Any]) -> None:
    """Ask at the terminal whether to make the call.

    Raises `Cancelled` on no, `ConfirmationRequired` when there is nobody to ask.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise ConfirmationRequired(f"{name} wants a person's yes", hint="add --yes to give it")
    narrate(f"{name} {json.dumps(arguments, ensure_ascii=False)}")
    if not click.confirm("Do it?", err=True):
        raise Cancelled(f"{name} was not called")


def _write_event(event: AnyEvent) -> None:
    if not isinstance(event, Accepted):
        write_json_line(event)
