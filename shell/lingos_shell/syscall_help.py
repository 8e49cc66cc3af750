"""Help for a syscall, generated from its schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lingos_kernel.errors import UnknownSyscall
from lingos_kernel.names import did_you_mean
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import option, resolve, type_text


def find_syscall(infos: Iterable[SyscallInfo], name: str) -> SyscallInfo:
    """The syscall of the name. Raises `UnknownSyscall` with the nearest names."""
    by_name = {info.name: info for info in infos}
    if name not in by_name:
        raise UnknownSyscall(
            f"unknown syscall {name!r}",
            hint=did_you_mean(name, by_name, otherwise="`lingos syscalls` lists them"),
        )
    return by_name[name]


def help_text(info: SyscallInfo) -> str:
    """The help page of a syscall: usage, what it does, its arguments, who may call it."""
    parts = [usage_line(info), "", info.summary]
    if info.help:
        parts += ["", info.help]
    rows = argument_rows(info)
    if rows:
        width = max(len(row[0]) for row in rows)
        parts += ["", "Arguments:"]
        parts += [f"  {left:<{width}}  {right}".rstrip() for left, right in rows]
    parts += ["", facts_line(info)]
    return "\n".join(parts)


def usage_line(info: SyscallInfo) -> str:
    """How `lingos call` is used for the syscall."""
    properties = info.arguments.get("properties", {})
    required = info.arguments.get("required", [])
    words = [f"{option(name)} {_metavar(properties[name], info)}" for name in required]
    rest = ["[ARGUMENTS]"] if len(properties) > len(required) else []
    return " ".join(["lingos call", info.name, *words, *rest])


def argument_rows(info: SyscallInfo) -> list[tuple[str, str]]:
    """One row per argument: its option with its type, and what it means."""
    required = set(info.arguments.get("required", ()))
    return [
        (
            f"{option(name)} {_metavar(schema, info)}",
            _meaning(schema, info, required=name in required),
        )
        for name, schema in info.arguments.get("properties", {}).items()
    ]


def facts_line(info: SyscallInfo) -> str:
    """Capability, owner and kind of the syscall in one line."""
    facts = [f"Capability: {info.capability}", f"owner: {info.owner}", f"cost: {info.cost}"]
    if info.timeout_s is not None:
        facts.append(f"time limit: {info.timeout_s:g} s")
    if info.streams:
        facts.append("streams")
    if info.confirm:
        facts.append("asks before it runs")
    return ", ".join(facts)


def _metavar(schema: Any, info: SyscallInfo) -> str:
    return type_text(schema, info.arguments).upper().replace(" ", "-")


def _meaning(schema: Any, info: SyscallInfo, *, required: bool) -> str:
    resolved = {**resolve(schema, info.arguments), **schema}
    text = str(resolved.get("description", "")).strip()
    if required:
        return f"{text} (required)".strip()
    default = resolved.get("default")
    if default is None:
        return text
    return f"{text} (default: {json.dumps(default, ensure_ascii=False)})".strip()
