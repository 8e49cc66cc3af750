"""Values between stages: as text, as tables, into their parts, and into the types of a schema."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lingos_kernel.errors import InvalidArguments, UnknownName
from lingos_kernel.names import did_you_mean
from lingos_shell.arguments import convert, resolve, type_text

Schema = Mapping[str, Any]


def text_of(value: Any) -> str:
    """A value as text: results by their `text`, lists of texts line by line, the rest as JSON."""
    match value:
        case None:
            return ""
        case str():
            return value
        case {"text": str(text)}:
            return text
        case [_, *_] if all(isinstance(item, str) for item in value):
            return "\n".join(value)
        case [_, *_] if all(isinstance(item, Mapping) and "text" in item for item in value):
            return "\n\n".join(text_of(item) for item in value)
        case bool() | int() | float():
            return json.dumps(value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def as_table(value: Any) -> tuple[list[str], list[list[str]]] | None:
    """Columns and rows of a list of objects, columns in order of appearance; None for others."""
    if not isinstance(value, list) or not value:
        return None
    if not all(isinstance(row, Mapping) for row in value):
        return None
    columns = list(dict.fromkeys(str(key) for row in value for key in row))
    return columns, [[_cell(row.get(column)) for column in columns] for row in value]


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    text = value if isinstance(value, str) else "" if value is None else text_of(value)
    return " ".join(text.split())


def dig(value: Any, path: Iterable[str], name: str) -> Any:
    """A part of a variable's value by keys and indices. Raises `UnknownName`."""
    at = name
    for step in path:
        if isinstance(value, str):
            value = _from_json(value)
        value = _step(value, step, at)
        at = f"{at}.{step}"
    return value


def _step(value: Any, step: str, at: str) -> Any:
    if isinstance(value, Mapping):
        if step in value:
            return value[step]
        known = [str(key) for key in value]
        listed = f"it has {', '.join(known[:20])}" if known else "it is empty"
        raise UnknownName(
            f"${at} has no field {step!r}", hint=did_you_mean(step, known, otherwise=listed)
        )
    if isinstance(value, list) and step.lstrip("-").isascii() and step.lstrip("-").isdigit():
        index = int(step)
        if -len(value) <= index < len(value):
            return value[index]
        raise UnknownName(f"${at} has no item {step}", hint=f"it has {len(value)} items, from 0")
    what = f"a list of {len(value)} items" if isinstance(value, list) else type(value).__name__
    raise UnknownName(f"${at} has no field {step!r}", hint=f"it is {what}")


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def accepted_types(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that a parameter takes; `any` when it takes all."""
    schema = resolve(schema, root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return set().union(*(accepted_types(branch, root) for branch in branches))
    if "enum" in schema or "const" in schema:
        return {"string"}
    kinds = schema.get("type", "any")
    return set(kinds) if isinstance(kinds, list) else {kinds}


def fit(name: str, value: Any, schema: Schema, root: Schema) -> Any:
    """A value (not a typed word) as an argument: in its own type, or as text where text is wanted.

    A text for a list becomes its only item, an object for a list too. Raises `InvalidArguments`.
    """
    kinds = accepted_types(schema, root)
    own = json_type(value)
    if own in kinds or "any" in kinds or (own == "integer" and "number" in kinds):
        if own == "array":
            items = _items(schema, root)
            return [fit(name, item, items, root) for item in value]
        if own == "string" and type_text(schema, root) == "path":
            return convert(name, value, schema, root)
        return value
    if "string" in kinds:
        return text_of(value)
    if "array" in kinds and value is not None:
        return [fit(name, value, _items(schema, root), root)]
    if isinstance(value, str):
        return convert(name, value, schema, root)
    raise InvalidArguments(
        f"--{name} takes {' or '.join(sorted(kinds - {'null'}))}, not {own}",
        hint="$name.field takes a part of a value",
    )


def _items(schema: Schema, root: Schema) -> Schema:
    schema = resolve(schema, root)
    branches: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or [schema]
    for branch in branches:
        found = resolve(branch, root)
        if found.get("type") == "array":
            return found.get("items") or {}
    return {}


def json_type(value: Any) -> str:
    """The JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case Mapping():
            return "object"
    return "array"
