"""The one list of commands. Front ends read names and summaries here and import on use.

Each entry names the module that holds the command, so that help and completion of names import
none of them. Commands of plugins are looked for only when a name is not in this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import cast

import click

from lingos_kernel.errors import UnknownName
from lingos_shell.invocation import Invocation


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives and what it is for."""

    module: str
    summary: str
    section: str

    def load(self) -> click.Command:
        """Import the command; the module calls it `command`, or `NAME_command` among several."""
        module, _, attribute = self.module.partition(":")
        loaded = import_module(f"lingos_shell.commands.{module}")
        return cast(click.Command, getattr(loaded, attribute or "command"))


TALK, MODELS, KERNEL, MACHINE = "Talk to a model", "Models", "Kernel", "Machine"

COMMANDS: dict[str, Entry] = {
    "run": Entry("run", "Answer one prompt; piped text comes before it.", TALK),
    "chat": Entry("chat", "Talk with a model, line by line.", TALK),
    "call": Entry("call", "Call any syscall with its arguments.", TALK),
    "ctx": Entry("contexts", "Keep, fork and cut conversations.", TALK),
    "syscalls": Entry("syscalls", "List the syscalls, or explain one.", TALK),
    "pull": Entry("models:pull_command", "Fetch a model into the store.", MODELS),
    "models": Entry("models:models_command", "List the models in the store.", MODELS),
    "show": Entry("models:show_command", "Show everything known about a model.", MODELS),
    "rm": Entry("models:rm_command", "Remove models from the store.", MODELS),
    "ps": Entry("processes:ps_command", "List the kernel's processes.", KERNEL),
    "kill": Entry("processes:kill_command", "End, pause or resume processes.", KERNEL),
    "nice": Entry("processes:nice_command", "Change a process's priority.", KERNEL),
    "wait": Entry("processes:wait_command", "Wait until a process has ended, and say why.", KERNEL),
    "trace": Entry("trace", "Watch the syscalls of a process live, until it ends.", KERNEL),
    "job": Entry("jobs", "Have syscalls done in the background, whatever happens.", KERNEL),
    "top": Entry("top", "Watch the scheduler: who runs, who waits, where memory went.", KERNEL),
    "kernel": Entry("kernel", "Start, stop and inspect the resident kernel.", KERNEL),
    "plugins": Entry("plugins", "List the installed plugins, importing none.", MACHINE),
    "config": Entry("config", "Show or validate the settings.", MACHINE),
    "doctor": Entry("doctor", "Find what is wrong with this machine and how to mend it.", MACHINE),
    "completion": Entry("completion", "Print a shell's completion script.", MACHINE),
}


class LingOSGroup(click.Group):
    """The root group: commands are imported when used, help is drawn from the registry."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names of the built-in commands, in the order of the registry."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; unknown names are looked up among the plugins' commands."""
        if cmd_name.startswith("-"):
            return None
        if cmd_name in COMMANDS:
            return COMMANDS[cmd_name].load()
        if ctx.resilient_parsing:
            return None
        return _plugin_command(cmd_name, ctx.ensure_object(Invocation))

    def format_commands(  # click's signature
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands by section, without importing any."""
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            rows = [(n, entry.summary) for n, entry in COMMANDS.items() if entry.section == section]
            with formatter.section(section):
                formatter.write_dl(rows, col_max=14)

    def shell_complete(
        self, ctx: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """Complete command names from the registry alone."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=entry.summary)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


def _plugin_command(name: str, invocation: Invocation) -> click.Command:
    from lingos_shell.plugin_commands import load_plugin_commands

    commands = load_plugin_commands(invocation)
    if isinstance(found := commands.get(name), click.Command):
        return found
    from lingos_kernel.names import did_you_mean

    raise UnknownName(
        f"unknown command {name!r}",
        hint=did_you_mean(
            name,
            [*COMMANDS, *commands],
            otherwise="`lingos --help` lists the commands, `lingos syscalls` the syscalls",
        ),
    )
