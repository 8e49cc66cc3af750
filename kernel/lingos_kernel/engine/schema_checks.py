"""What a grammar engine does not notice about a JSON schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def never_ends(schema: Any) -> bool:
    """Whether every value of the schema would contain itself for ever.

    Such a schema requires, without an alternative, what refers back to it. Grows the set of
    references that some finite value meets, until nothing is added.
    """
    targets = {reference: _resolve(schema, reference) for reference in _references(schema)}
    finite: set[str] = set()
    while grown := {
        reference
        for reference, target in targets.items()
        if reference not in finite and _can_end(target, finite)
    }:
        finite |= grown
    return not _can_end(schema, finite)


def _references(schema: Any) -> Iterator[str]:
    """All local references; foreign ones are for the grammar engine to refuse."""
    parts: list[Any] = []
    if isinstance(schema, dict):
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            yield reference
        parts = list(schema.values())
    elif isinstance(schema, list):
        parts = schema
    for part in parts:
        yield from _references(part)


def _resolve(schema: Any, reference: str) -> Any:
    """What a JSON pointer names; True (anything goes) where it names nothing."""
    part = schema
    for name in reference.removeprefix("#").split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        if isinstance(part, dict) and key in part:
            part = part[key]
        elif isinstance(part, list) and key.isdigit() and int(key) < len(part):
            part = part[int(key)]
        else:
            return True
    return part


def _can_end(schema: Any, finite: set[str]) -> bool:
    """Whether some finite value meets the schema, if one meets each of the finite references."""
    if not isinstance(schema, dict):
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#") and reference not in finite:
        return False
    if not all(_can_end(part, finite) for part in schema.get("allOf", [])):
        return False
    for name in ("anyOf", "oneOf"):
        options = schema.get(name)
        if options and not any(_can_end(option, finite) for option in options):
            return False
    return all(_can_end(part, finite) for part in _required_parts(schema))


def _required_parts(schema: dict[str, Any]) -> Iterator[Any]:
    """The schemas of what every value must contain, where the type leaves no way around."""
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        yield from (properties[name] for name in schema.get("required", []) if name in properties)
    if schema.get("type") == "array":
        least = schema.get("minItems", 0)
        given = schema.get("prefixItems", [])
        yield from given[:least]
        if least > len(given):
            yield schema.get("items", True)
