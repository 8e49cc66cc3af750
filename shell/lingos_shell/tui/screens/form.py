"""A form from a JSON schema: its fields, and what was typed as the arguments of a call. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.syscalls.spec import SyscallInfo
from lingos_shell.arguments import PATH_FORMATS, convert, resolve, type_text
from lingos_shell.language.printer import print_pipeline
from lingos_shell.language.syntax import Call, Option, Pipeline, Text, Word

Kind = Literal["text", "integer", "number", "choice", "json", "path"]


@dataclass(frozen=True, slots=True)
class Field:
    """One argument of a syscall as a form asks for it."""

    name: str
    kind: Kind
    type: str
    """In a few words: `integer`, `list of string`."""
    about: str
    is_required: bool
    default: str
    """As text; empty when there is none."""
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None


def fields_of(info: SyscallInfo) -> tuple[Field, ...]:
    """The fields of a syscall's form, those that are required first."""
    root = info.arguments
    required = root.get("required", ())
    made = [
        _field(name, schema, root, is_required=name in required)
        for name, schema in root.get("properties", {}).items()
    ]
    return tuple(sorted(made, key=lambda field: not field.is_required))


def _field(name: str, schema: Any, root: Mapping[str, Any], *, is_required: bool) -> Field:
    resolved = {**resolve(schema, root), **schema}
    choices = _choices(schema, root)
    default = resolved.get("default")
    return Field(
        name,
        "choice" if choices else _kind(schema, root),
        type_text(schema, root),
        str(resolved.get("description", "")).strip(),
        is_required,
        "" if default is None else _as_text(default),
        choices,
        schema,
    )


def _branches(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas of which one has to fit, without null."""
    schema = resolve(schema, root)
    parts = schema.get("anyOf") or schema.get("oneOf") or [schema]
    kinds = schema.get("type")
    if isinstance(kinds, list):
        parts = [{**schema, "type": kind} for kind in kinds]
    return [part for part in (resolve(p, root) for p in parts) if part.get("type") != "null"]


def _choices(schema: Mapping[str, Any], root: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    for part in _branches(schema, root):
        if "const" in part:
            found.append(str(part["const"]))
        elif "enum" in part:
            found += [str(value) for value in part["enum"]]
        elif part.get("type") == "boolean":
            found += ["true", "false"]
        else:
            return ()
    return tuple(found)


def _kind(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Kind:
    kinds = {part.get("type") for part in _branches(schema, root)}
    if kinds == {"integer"}:
        return "integer"
    if kinds <= {"integer", "number"} and kinds:
        return "number"
    if kinds == {"string"}:
        formats = {part.get("format") for part in _branches(schema, root)}
        return "path" if formats <= PATH_FORMATS else "text"
    return "json"


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def arguments_of(
    info: SyscallInfo,
    typed: Mapping[str, str],
    *,
    read_file: Callable[[str], str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments that were typed, and what is wrong by the names of the fields.

    An empty field is left out. `@file` stands for a file's text, `@@` for a literal `@`.
    """
    arguments: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in fields_of(info):
        text = typed.get(field.name, "")
        if not text:
            if field.is_required:
                wrong[field.name] = "this is required"
            continue
        try:
            arguments[field.name] = _value(field, text, info.arguments, read_file)
        except InvalidArguments as error:
            wrong[field.name] = error.message.removeprefix(f"--{field.name.replace('_', '-')} ")
    return arguments, wrong


def _value(
    field: Field, text: str, root: Mapping[str, Any], read_file: Callable[[str], str]
) -> Any:
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@") and len(text) > 1:
        text = read_file(text[1:].strip())
    assert field.schema is not None
    if field.kind == "json" and text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise InvalidArguments(f"is not valid JSON: {error}", hint="mend it") from None
    return convert(field.name, text.strip() if field.kind != "text" else text, field.schema, root)


def command_of(name: str, arguments: Mapping[str, Any]) -> str:
    """The line of the shell's language that makes the call."""
    options = tuple(Option(key, _word(_as_text(value))) for key, value in arguments.items())
    return print_pipeline(Pipeline((Call(name, options),)))


def _word(text: str) -> Word:
    return Word((Text(text),) if text else ())


@dataclass(frozen=True, slots=True)
class Branch:
    """Syscalls below one prefix."""

    prefix: str
    infos: tuple[SyscallInfo, ...]


def best_of(infos: Sequence[SyscallInfo], search: str) -> SyscallInfo | None:
    """The one that a search most likely means: the name or its end, then names, then summaries."""
    wanted = search.casefold().strip()
    found = [info for branch in tree_of(infos, search) for info in branch.infos]

    def distance(info: SyscallInfo) -> tuple[bool, ...]:
        name = info.name.casefold()
        return name != wanted, not name.endswith(f".{wanted}"), wanted not in name

    return min(found, key=distance, default=None)


def tree_of(infos: Sequence[SyscallInfo], search: str = "") -> tuple[Branch, ...]:
    """Syscalls by the first part of their names; with a search those that hold all its words."""
    words = search.casefold().split()
    found: dict[str, list[SyscallInfo]] = {}
    for info in sorted(infos, key=lambda info: info.name):
        text = f"{info.name} {info.summary}".casefold()
        if all(word in text for word in words):
            found.setdefault(info.name.partition(".")[0], []).append(info)
    return tuple(Branch(prefix, tuple(each)) for prefix, each in found.items())
