"""Writes docs/reference/ from the program itself: `python docs/generate.py`.

With `--check` it writes nothing and fails when a page is out of date; the tests do the same.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import click

from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.command_line import cli
from lingos_shell.language.builtin import BUILT_IN, described, summary_of
from lingos_shell.language.help import LANGUAGE, sections, usage
from lingos_shell.registry import COMMANDS, WORDS
from lingos_shell.repl.keys import KEYS
from lingos_shell.syscall_help import argument_rows, facts_line, usage_line

REFERENCE = Path(__file__).parent / "reference"
NOTICE = "<!-- Written by docs/generate.py; change the program instead. -->\n"
WIDTH = 100


def pages() -> Mapping[str, str]:
    """The text of each generated page by its file's name."""
    return {
        "cli.md": cli_page(),
        "cheatsheet.md": cheatsheet_page(),
        "syscalls.md": syscalls_page(asyncio.run(installed_syscalls())),
    }


def cheatsheet_page() -> str:
    """The shell's language, its words and the REPL's keys on one page."""
    parts = [NOTICE, "# Cheat sheet\n", "The whole language is in [language.md](language.md).\n"]
    parts += [table(("you type", "what it does"), LANGUAGE)]
    for section, names in sections().items():
        rows = [(usage(*described_word(name)), summary_of(name)) for name in names]
        parts += [f"## {section}\n", table(("word", "what it does"), rows)]
    parts += ["## Keys of lingos sh\n", table(("key", "what it does"), KEYS)]
    return "\n".join(parts)


def described_word(name: str) -> tuple[SyscallInfo, str]:
    """A word and its name; of another name for a syscall the syscall's description."""
    if name in BUILT_IN:
        return described(name, BUILT_IN[name]), name
    infos = asyncio.run(installed_syscalls())
    return next(info for info in infos if info.name == WORDS[name].syscall), name


def table(heads: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    """A Markdown table whose first column is code."""
    lines = [f"| {heads[0]} | {heads[1]} |", "|---|---|"]
    for left, right in rows:
        code = left.replace("|", "\\|")
        lines.append(f"| `{code}` | {right.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every command with its own help."""
    parts = [NOTICE, "# The command line\n", help_block(cli, ["lingos"])]
    for name, entry in COMMANDS.items():
        command = entry.load()
        parts += [f"## lingos {name}\n", help_block(command, ["lingos", name])]
        if isinstance(command, click.Group):
            for inner_name, inner in sorted(command.commands.items()):
                parts += [
                    f"### lingos {name} {inner_name}\n",
                    help_block(inner, ["lingos", name, inner_name]),
                ]
    return "\n".join(parts)


def help_block(command: click.Command, path: Iterable[str]) -> str:
    """A command's help as a code block."""
    context: click.Context | None = None
    for word in path:
        context = click.Context(
            command, parent=context, info_name=word, terminal_width=WIDTH, max_content_width=WIDTH
        )
    assert context is not None
    return f"```text\n{command.get_help(context)}\n```\n"


def syscalls_page(infos: Iterable[SyscallInfo]) -> str:
    """Every syscall with its arguments, by room."""
    parts = [
        NOTICE,
        "# System calls\n",
        "Call them with `lingos call NAME`, `client.call(NAME, ...)`, over the socket, or let the"
        " model call them.\n",
    ]
    for room, group in groupby(infos, key=lambda info: info.name.split(".")[0]):
        parts.append(f"## {room}\n")
        parts += [syscall_section(info) for info in group]
    return "\n".join(parts)


def syscall_section(info: SyscallInfo) -> str:
    """One syscall: usage, what it does, arguments, facts."""
    rows = argument_rows(info)
    width = max((len(left) for left, _ in rows), default=0)
    lines = [f"{left:<{width}}  {right}".rstrip() for left, right in rows]
    usage = "\n".join([usage_line(info), "", *lines] if lines else [usage_line(info)])
    text = "\n\n".join(part for part in (info.summary, info.help) if part)
    return f"### {info.name}\n\n{text}\n\n```text\n{usage}\n```\n\n{facts_line(info)}\n"


async def installed_syscalls() -> list[SyscallInfo]:
    """The syscalls of a kernel with the first-party plugins."""
    from lingos_kernel.security.principal import owner
    from lingos_kernel.testing.scripted_kernel import scripted_kernel

    with tempfile.TemporaryDirectory() as home:
        async with scripted_kernel(Path(home), plugins="text") as kernel:
            return kernel.table.infos(owner("reader"))


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` say which are out of date."""
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                REFERENCE.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    verb = "out of date" if "--check" in arguments else "written"
    sys.stdout.write("".join(f"{verb}: docs/reference/{name}\n" for name in stale))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
