"""The `lingos` command line: its root, and how each of its runs ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from lingos_shell.common_options import (
    json_option,
    local_option,
    settings_option,
    verbose_option,
)
from lingos_shell.failures import ending_of, report
from lingos_shell.invocation import Invocation
from lingos_shell.output import OutputClosed, is_screen, silence
from lingos_shell.registry import LingOSGroup

EPILOG = """\b
Data goes to stdout, narration to stderr.
Exit codes: 0 ok, 1 failed, 2 usage, 3 no kernel, 4 timeout, 130 interrupted.
Plugins add commands and syscalls: `lingos plugins`, `lingos syscalls`."""


@click.group(
    cls=LingOSGroup,
    invoke_without_command=True,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--version", is_flag=True, help="Print the version and leave.")
@json_option
@local_option
@verbose_option
@settings_option
@click.option("--readonly", is_flag=True, help="Terminal interface: look, change nothing.")
@click.pass_context
def cli(context: click.Context, *, version: bool, readonly: bool) -> None:
    """LingOS: an operating system for language models.

    Without a command: the terminal interface, or, where stdin or stdout is no terminal, a
    conversation with the default model, line by line.
    """
    if version:
        from lingos_kernel import __version__
        from lingos_shell.output import write_json, write_line

        as_json = context.ensure_object(Invocation).as_json
        write_json({"version": __version__}) if as_json else write_line(f"lingos {__version__}")
        context.exit()
    if context.invoked_subcommand is None:
        invocation = context.ensure_object(Invocation)
        if is_screen() and not invocation.as_json:
            from lingos_shell.tui.start import start

            start(invocation, is_readonly=readonly)
            return
        from lingos_shell.commands.chat import command

        context.invoke(command)


def execute(arguments: Sequence[str], invocation: Invocation) -> int:
    """Run one command line; returns the exit code and never raises.

    Tests bring an `Invocation` with their own client.
    """
    try:
        code = cli.main(
            args=list(arguments), prog_name="lingos", standalone_mode=False, obj=invocation
        )
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  # every ending becomes an exit code
        return end(error, invocation, wants_json="--json" in arguments)
    return code if isinstance(code, int) else 0  # commands return None; `Context.exit` its code


def end(error: BaseException, invocation: Invocation, *, wants_json: bool = False) -> int:
    """Tell what ended a run; returns the exit code."""
    if isinstance(error, SystemExit):  # click's completion leaves this way
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, OutputClosed | BrokenPipeError):
        silence(sys.stdout)
    ending = ending_of(error)
    as_json = invocation.as_json or wants_json
    report(ending, as_json=as_json, cause=error if invocation.verbose else None)
    return ending.exit_code
