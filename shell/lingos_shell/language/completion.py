"""What could stand at the cursor: names, options, values by type, files, variables."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingos_kernel.errors import LingOSError
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import option, resolve, type_text
from lingos_shell.language.values import accepted_types, json_type, text_of

if TYPE_CHECKING:
    from lingos_shell.language.interpreter import Interpreter

PATIENCE_S = 1.0
"""A person waits for the menu; a kernel that is slower completes nothing."""
MAX_FILES = 200
MAX_WORD = 300
"""Characters of a word that is completed."""

_STAGE = re.compile(r"\s\|\s*(?=/|!|>|$)|\n")
_CALL = re.compile(r"(?:[A-Za-z_]\w*\s*=\s*)?/([\w.-]*)(\s.*)?\Z", re.DOTALL | re.ASCII)
_WORD = re.compile(r"(?:\"(?:\\.|[^\"\\])*(?:\"|\\?\Z)|'[^']*(?:'|\Z)|\\.|[^\s\"'])+", re.DOTALL)
"""A word of a call or a host command; the last one may be open."""
_WORD_OF_TEXT = re.compile(r"(?:@\"[^\"]*|\S*)\Z")
_VALUE_OF = re.compile(r"(--)?([A-Za-z_][\w-]*)=(.*)\Z", re.DOTALL | re.ASCII)
_REDIRECTION = re.compile(r"(?:^|\s)(?:>>?|<)\s*(\S*)\Z")


@dataclass(frozen=True, slots=True)
class Completion:
    """One proposal: `text` replaces what stands from `start` to the cursor."""

    text: str
    start: int
    help: str = ""
    kind: str = ""
    """word, syscall, option, value, model, process, context, file, loader, variable, lock."""


@dataclass(frozen=True, slots=True)
class _Offer:
    text: str
    help: str = ""
    kind: str = ""


async def complete(shell: Interpreter, text: str) -> list[Completion]:
    """Proposals for the end of the text, the likeliest first; none when the kernel is slow."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            begin, offers = await _offers(shell, text)
    except (LingOSError, TimeoutError):
        return []  # completion never gets in the way of typing
    typed = text[begin:]
    return [
        Completion(offer.text, begin, offer.help, offer.kind)
        for offer in _matching(offers, typed)
        if offer.text.rstrip() != typed or offer.help
    ]


def _matching(offers: Iterable[_Offer], typed: str) -> list[_Offer]:
    """Offers that begin as typed, then those with the letters inside."""
    listed = list(offers)
    folded = typed.lower()
    first = [offer for offer in listed if offer.text.lower().startswith(folded)]
    inner = folded.lstrip("/@$-")
    rest = [offer for offer in listed if inner and inner in offer.text.lower()]
    return list(dict.fromkeys([*first, *rest]))


async def _offers(shell: Interpreter, text: str) -> tuple[int, list[_Offer]]:
    """Where the word at the cursor begins, and all that could stand there."""
    stage_begin = max((match.end() for match in _STAGE.finditer(text)), default=0)
    stage = text[stage_begin:].lstrip()
    stage_begin = len(text) - len(stage)
    call = _CALL.match(stage)
    word = _last_word(stage, is_text=call is None and not stage.startswith((">", "!")))
    word_begin = len(text) - len(word)
    if word.startswith("$"):
        return word_begin, _variables(shell, word)
    if word.startswith("@"):
        return await _loads(shell, word, word_begin)
    if stage.startswith("!") or (stage.startswith((">", "/")) and _REDIRECTION.search(stage)):
        name = word.lstrip("!<>")
        return len(text) - len(name), _files(name)
    if call is None:
        return len(text), []
    if call[2] is None:
        return len(text) - len(call[1]) - 1, await _names(shell)
    info = await shell.names.find(call[1])
    if value := _VALUE_OF.match(word):
        offers = await _values(shell, info, value[2].replace("-", "_"), value[3])
        return len(text) - len(value[3]), offers
    return word_begin, await _arguments(shell, info, call[2], word)


def _last_word(stage: str, *, is_text: bool) -> str:
    """The word at the cursor; quotes hold one together, but in text they are text."""
    if is_text:
        found = _WORD_OF_TEXT.search(stage[-MAX_WORD:])  # a long text need not have blanks
        return found[0] if found else ""
    last = ""
    for each in _WORD.finditer(stage):
        last = each[0] if each.end() == len(stage) else ""
    return last


async def _names(shell: Interpreter) -> list[_Offer]:
    return [
        _Offer(f"/{name}", info.summary, "word" if info.name != name else "syscall")
        for name, info in await shell.names.all()
    ]


async def _arguments(shell: Interpreter, info: SyscallInfo, before: str, word: str) -> list[_Offer]:
    """Values of the option before the cursor, or of the next bare word, and the options left."""
    properties: Mapping[str, Any] = info.arguments.get("properties", {})
    words = _WORD.findall(before[: len(before) - len(word)])
    last = words[-1] if words else ""
    if last.startswith("--") and "=" not in last:
        name = last[2:].replace("-", "_")
        if name in properties and not _is_flag(info, name):
            return await _values(shell, info, name, word)
    used = {w.lstrip("-").partition("=")[0].replace("-", "_") for w in words if w[:2] == "--"}
    options = [
        _Offer(f"{option(name)} ", _meaning(info, name), "option")
        for name in properties
        if name not in used
    ]
    if word.startswith("-"):
        return options
    bare = _bare_words(info, words)
    required = [name for name in info.arguments.get("required", ()) if name in properties]
    ordered = [
        n for n in (*required, *(p for p in properties if p not in required)) if n not in used
    ]
    values = await _values(shell, info, ordered[bare], word) if bare < len(ordered) else []
    return [*values, *options]


def _bare_words(info: SyscallInfo, words: list[str]) -> int:
    """How many of the words stand for themselves, and not for an option's value."""
    count, takes_value = 0, False
    for word in words:
        if word.startswith("--"):
            name = word[2:].replace("-", "_")
            takes_value = "=" not in word and not _is_flag(info, name)
        else:
            count += not takes_value
            takes_value = False
    return count


def _is_flag(info: SyscallInfo, name: str) -> bool:
    schema = info.arguments.get("properties", {}).get(name, {})
    return "boolean" in accepted_types(schema, info.arguments)


def _meaning(info: SyscallInfo, name: str) -> str:
    schema = info.arguments["properties"][name]
    kind = type_text(schema, info.arguments)
    return f"{kind}  {schema.get('description', '')}".strip()


# Values


async def _values(shell: Interpreter, info: SyscallInfo, name: str, word: str) -> list[_Offer]:
    schema = resolve(info.arguments.get("properties", {}).get(name, {}), info.arguments)
    listed = list(_choices(schema, info.arguments))
    if listed:
        return [_Offer(choice, _short(schema), "value") for choice in listed]
    if type_text(schema, info.arguments) == "path":
        return _files(word)
    room = info.name.partition(".")[0]
    for kind in (f"{info.name}:{name}", f"{room}:{name}", name):
        if ask := SOURCES.get(kind):
            syscall, key, what = ask
            return await _rows(shell, syscall, key, what)
    return await _settings(shell, info, name)


def _choices(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterable[str]:
    for branch in schema.get("anyOf") or schema.get("oneOf") or [schema]:
        found = resolve(branch, root)
        if found.get("type") == "boolean":
            yield from ("true", "false")
        yield from (text_of(value) for value in found.get("enum", ()))


def _short(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", ""))


SOURCES: Mapping[str, tuple[str, str, str]] = {
    "model": ("model.list", "name", "model"),
    "model:name": ("model.list", "name", "model"),
    "pid": ("proc.list", "pid", "process"),
    "ctx:name": ("ctx.list", "name", "context"),
    "context": ("ctx.list", "name", "context"),
    "session:name": ("ctx.list", "name", "context"),
    "thread:name": ("thread.locks", "name", "lock"),
    "tools": ("sys.help", "name", "syscall"),
    "syscall": ("sys.help", "name", "syscall"),
    "sys.help:name": ("sys.help", "name", "syscall"),
    "help:name": ("sys.help", "name", "syscall"),
    "job_id": ("job.list", "job_id", "job"),
}
"""Where the values of a parameter are listed: by syscall and name, by room and name, by name."""


async def _rows(shell: Interpreter, syscall: str, key: str, kind: str) -> list[_Offer]:
    rows = await shell.client.call(syscall)
    rows = sorted(rows, key=lambda row: row.get("kind") == "encoder")  # it answers nobody
    return [_Offer(str(row[key]), _about(row), kind) for row in rows if row.get(key) is not None]


def _about(row: Mapping[str, Any]) -> str:
    for key in ("summary", "command", "description", "model", "kind", "syscall"):
        if row.get(key):
            return str(row[key])[:70]
    return ""


async def _settings(shell: Interpreter, info: SyscallInfo, name: str) -> list[_Offer]:
    if (info.name, name) == ("set", "name"):
        chat = await shell.names.find("llm.chat")
        names = [n for n in chat.arguments["properties"] if n not in {"messages", "context"}]
        return [_Offer("system ", "the system message", "setting")] + [
            _Offer(f"{n} ", _meaning(chat, n), "setting") for n in names
        ]
    if (info.name, name) == ("unset", "name"):
        return [_Offer(n, "", "setting") for n in (*shell.settings.options, *shell.variables)]
    if name == "job":
        return [_Offer(str(job.number), job.source, "job") for job in shell.jobs.all()]
    return []


# Variables, loads, files


def _variables(shell: Interpreter, word: str) -> list[_Offer]:
    name, dot, _ = word[1:].partition(".")
    value = shell.variables.get(name)
    if dot and isinstance(value, Mapping):
        return [
            _Offer(f"${name}.{key}", json_type(inner), "variable") for key, inner in value.items()
        ]
    return [
        _Offer(f"${known}", f"{json_type(v)}  {text_of(v)[:60]}", "variable")
        for known, v in shell.variables.items()
    ]


async def _loads(shell: Interpreter, word: str, begin: int) -> tuple[int, list[_Offer]]:
    loader, colon, rest = word[1:].partition(":")
    if colon and loader == "file":
        return begin + len(loader) + 2, _files(rest)
    if colon:
        return begin, []
    known = await shell.loaders.all()
    loaders = [
        _Offer(f"@{name}:", (load.__doc__ or "").splitlines()[0] if load.__doc__ else "", "loader")
        for name, load in known.items()
    ]
    return begin, [
        *(_Offer(f"@{each.text}", each.help, each.kind) for each in _files(word[1:])),
        *loaders,
    ]


def _files(typed: str) -> list[_Offer]:
    """Files and folders that begin as typed, hidden ones only when asked for."""
    is_quoted = typed.startswith('"')
    typed = typed.lstrip('"')
    folder, _, name = typed.rpartition("/")
    base = f"{folder}/" if "/" in typed else ""
    try:
        with os.scandir(Path(base or ".").expanduser()) as entries:
            found = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if entry.name.startswith(name) and (name or not entry.name.startswith("."))
            )
    except OSError:
        return []
    return [
        _Offer(
            _quoted(f"{base}{each}{'/' if is_folder else ''}", always=is_quoted),
            "folder" if is_folder else "",
            "file",
        )
        for each, is_folder in found[:MAX_FILES]
    ]


def _quoted(path: str, *, always: bool) -> str:
    return f'"{path}"' if always or re.search(r"[\s\"'$\\|&<>]", path) else path
