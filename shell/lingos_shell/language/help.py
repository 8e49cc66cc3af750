"""Help pages as plain text: of a word, of a syscall, of the language."""

from __future__ import annotations

from itertools import groupby

from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import type_text
from lingos_shell.language.builtin import summary_of
from lingos_shell.language.naming import Names
from lingos_shell.registry import WORDS
from lingos_shell.syscall_help import argument_rows, facts_line

LANGUAGE = (
    ("text", "goes to the session's model"),
    ("/name arguments", "runs a word or syscall: /name value --option value key=value"),
    ("a | /b | /c", "each gets what the one before gives; | text asks the model about it"),
    ("/a > file", "writes the result, >> appends; behind text: text | > file"),
    ("/a < file", "reads the file as what comes through a pipe"),
    ("/a &", "in the background: /jobs /fg /bg /stop /wait"),
    ("x = /a", "keeps the result: $x, $x.field; $_ is the last one"),
    ("@file @dir @*.py @https://...", "loads text, in messages and as an argument"),
    ("!command", "runs in the host's shell; $x is in its environment"),
    ('"""..."""', "holds several lines; \\ at the end of a line joins it with the next"),
    ("# comment", "is passed over; a backslash makes \\/ \\! \\# \\$ \\@ plain"),
)


async def help_page(names: Names, name: str) -> str:
    """The page on a name, or the overview. Raises `UnknownSyscall`."""
    if name:
        info = await names.find(name.removeprefix("/"))
        return page(info, name.removeprefix("/"))
    syscalls = await names.syscalls()
    return overview(list(syscalls))


def page(info: SyscallInfo, called: str = "") -> str:
    """Usage, what it does, its arguments."""
    parts = [usage(info, called), "", info.summary]
    if info.help:
        parts += ["", info.help]
    if rows := argument_rows(info):
        width = max(len(left) for left, _ in rows)
        parts += ["", *(f"  {left:<{width}}  {right}".rstrip() for left, right in rows)]
    if info.capability:
        parts += ["", facts_line(info)]
    return "\n".join(parts)


def usage(info: SyscallInfo, called: str = "") -> str:
    """One line: `/name REQUIRED [OPTIONAL]`, as positional words."""
    properties = info.arguments.get("properties", {})
    required = info.arguments.get("required", [])
    words = [name.upper() for name in required]
    words += [f"[{name.upper()}]" for name in properties if name not in required][:3]
    more = ["..."] if len(properties) - len(required) > 3 else []
    return " ".join([f"/{called or info.name}", *words, *more])


def hint(info: SyscallInfo) -> str:
    """The arguments in a few words, for a toolbar: `text: string, size: integer = 256`."""
    required = set(info.arguments.get("required", ()))
    return ", ".join(
        f"{name}{'' if name in required else '?'}: {type_text(schema, info.arguments)}"
        for name, schema in info.arguments.get("properties", {}).items()
    )


def overview(syscalls: list[str]) -> str:
    """The language, the words by section, the rooms of the syscalls."""
    width = max(len(left) for left, _ in LANGUAGE)
    lines = [f"  {left:<{width}}  {right}" for left, right in LANGUAGE]
    for section, names in sections().items():
        lines += ["", section]
        lines += [f"  {'/' + name:<{width}}  {summary_of(name)}" for name in names]
    lines += ["", "Syscalls (/help NAME explains one)"]
    for room, group in groupby(sorted(syscalls), key=lambda name: name.partition(".")[0]):
        lines.append(f"  {room + '.':<8}{' '.join(name.partition('.')[2] for name in group)}")
    return "\n".join(lines)


def sections() -> dict[str, list[str]]:
    """The words by section, in the registry's order."""
    found: dict[str, list[str]] = {}
    for name, entry in WORDS.items():
        found.setdefault(entry.section, []).append(name)
    return found
