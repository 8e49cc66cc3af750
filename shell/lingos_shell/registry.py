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
    """Of the command line; empty: there is only a word of the shell."""
    summary: str
    section: str
    syscall: str = ""
    """The word `/name` of the shell stands for this syscall."""
    word: str = ""
    """What the word `/name` of the shell does, where that differs from the command: it is one of
    `lingos_shell.language.builtin`."""

    def load(self) -> click.Command:
        """Import the command; the module calls it `command`, or `NAME_command` among several."""
        module, _, attribute = self.module.partition(":")
        loaded = import_module(f"lingos_shell.commands.{module}")
        return cast(click.Command, getattr(loaded, attribute or "command"))


TALK, MODELS, KERNEL, MACHINE = "Talk to a model", "Models", "Kernel", "Machine"
SHELL = "In the shell"

ENTRIES: dict[str, Entry] = {
    "run": Entry("run", "Answer one prompt, or run a script (.los).", TALK),
    "sh": Entry("sh", "Talk with a model and run syscalls, line by line.", TALK),
    "chat": Entry("chat", "Another name for sh.", TALK),
    "call": Entry("call", "Call any syscall with its arguments.", TALK),
    "ctx": Entry("contexts", "Keep, fork and cut conversations.", TALK, syscall="ctx.list"),
    "syscalls": Entry("syscalls", "List the syscalls, or explain one.", TALK, syscall="sys.help"),
    "pull": Entry(
        "models:pull_command", "Fetch a model into the store.", MODELS, syscall="model.pull"
    ),
    "models": Entry(
        "models:models_command", "List the models in the store.", MODELS, syscall="model.list"
    ),
    "show": Entry(
        "models:show_command", "Show everything known about a model.", MODELS, syscall="model.show"
    ),
    "rm": Entry(
        "models:rm_command", "Remove models from the store.", MODELS, syscall="model.remove"
    ),
    "ps": Entry(
        "processes:ps_command", "List the kernel's processes.", KERNEL, syscall="proc.list"
    ),
    "kill": Entry(
        "processes:kill_command", "End, pause or resume processes.", KERNEL, syscall="proc.kill"
    ),
    "nice": Entry(
        "processes:nice_command", "Change a process's priority.", KERNEL, syscall="proc.nice"
    ),
    "limit": Entry(
        "processes:limit_command", "Set what a process may use.", KERNEL, syscall="proc.limit"
    ),
    "wait": Entry(
        "processes:wait_command",
        "Wait until a process has ended, and say why.",
        KERNEL,
        word="wait",
    ),
    "trace": Entry(
        "trace",
        "Watch the syscalls of a process live, until it ends.",
        KERNEL,
        syscall="proc.trace",
    ),
    "job": Entry(
        "jobs",
        "Have syscalls done in the background, whatever happens.",
        KERNEL,
        syscall="job.list",
    ),
    "top": Entry(
        "top",
        "Watch the scheduler: who runs, who waits, where memory went.",
        KERNEL,
        syscall="sys.snapshot",
    ),
    "web": Entry("web", "Show the terminal interface in a browser on this machine.", KERNEL),
    "kernel": Entry("kernel", "Start, stop and inspect the resident kernel.", KERNEL),
    "jupyter": Entry("jupyter", "Use LingOS in Jupyter notebooks.", MACHINE),
    "plugins": Entry(
        "plugins", "List the installed plugins, importing none.", MACHINE, syscall="sys.plugins"
    ),
    "config": Entry("config", "Show or validate the settings.", MACHINE, syscall="sys.config"),
    "doctor": Entry("doctor", "Find what is wrong with this machine and how to mend it.", MACHINE),
    "completion": Entry("completion", "Print a shell's completion script.", MACHINE),
    "ask": Entry("", "Send text to the model, whatever it begins with.", SHELL, word="ask"),
    "session": Entry("", "Show, open or begin a session.", SHELL, word="session"),
    "export": Entry("", "Write the session to a file: .md, .json, .ipynb.", SHELL, word="export"),
    "model": Entry("", "Show or change the session's model.", SHELL, word="model"),
    "set": Entry("", "Show or change how the model answers.", SHELL, word="set"),
    "unset": Entry("", "Give a setting of the answers, or a variable, up.", SHELL, word="unset"),
    "clear": Entry("", "Begin a new conversation.", SHELL, word="clear"),
    "jobs": Entry("", "List what runs in the background (&).", SHELL, word="jobs"),
    "fg": Entry("", "Follow a background job to its end.", SHELL, word="fg"),
    "bg": Entry("", "Let a stopped background job go on.", SHELL, word="bg"),
    "stop": Entry("", "Hold a background job at its next token.", SHELL, word="stop"),
    "vars": Entry("", "List the variables.", SHELL, word="vars"),
    "print": Entry("", "Show a value as text.", SHELL, word="print"),
    "source": Entry("", "Run a script in this session.", SHELL, word="source"),
    "cd": Entry(
        "", "Change the folder that files and !commands are looked for in.", SHELL, word="cd"
    ),
    "help": Entry("", "Explain the language, a word or a syscall.", SHELL, word="help"),
    "exit": Entry("", "Leave.", SHELL, word="exit"),
    "quit": Entry("", "Leave.", SHELL, word="exit"),
}
"""Every command and word, in the order of the sections."""

COMMANDS: dict[str, Entry] = {name: entry for name, entry in ENTRIES.items() if entry.module}
"""Those of the command line."""

WORDS: dict[str, Entry] = {n: e for n, e in ENTRIES.items() if e.syscall or e.word}
"""Those of the shell's language; all other names there are syscalls."""


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
