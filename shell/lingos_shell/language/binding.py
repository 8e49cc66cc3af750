"""Arguments as typed become the arguments of a syscall, by its schema. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.names import did_you_mean
from lingos_shell.arguments import convert, option, resolve, type_text
from lingos_shell.language.values import accepted_types, fit, text_of

Schema = Mapping[str, Any]
INPUT_MARK = "x-lingos-input"
"""A parameter whose schema has this takes what comes through a pipe."""


@dataclass(frozen=True, slots=True)
class Given:
    """One argument whose variables and loads have been replaced."""

    value: Any
    """None: an option without a value."""
    is_typed: bool
    """The value was typed by the person, and is a text yet to be read as the schema's type."""
    name: str = ""
    kind: str = "word"
    """word, option, keyed."""


@dataclass(frozen=True, slots=True)
class Piped:
    """What came through the pipe."""

    value: Any


def bind(arguments: Iterable[Given], schema: Schema, piped: Piped | None = None) -> dict[str, Any]:
    """The arguments object; what came through the pipe goes to `input_parameter`.

    Bare words fill the required parameters in the schema's order, then the optional ones; when
    the last one filled is a list, it takes all that follow. Raises `InvalidArguments`.
    """
    binder = _Binder(schema)
    words = binder.take_named(list(arguments))
    reserved = _own_input(schema, binder.values) if piped else None
    binder.take_words(words, reserved)
    if piped:
        name = reserved or _free_input(schema, binder.values)
        if name is None:
            raise InvalidArguments(
                "no argument is left for what comes through the pipe",
                hint=f"it takes {', '.join(schema.get('properties', {})) or 'no arguments'}",
            )
        binder.values[name] = fit(name, piped.value, schema["properties"][name], schema)
    _require(binder.values, schema)
    return binder.values


def _own_input(schema: Schema, given: Mapping[str, Any]) -> str | None:
    """The parameter that is marked as input, else one called `text`, unless it was given."""
    properties = schema.get("properties", {})
    marked = [name for name, each in properties.items() if each.get(INPUT_MARK)]
    return next(
        (name for name in [*marked, "text"] if name in properties and name not in given), None
    )


def _free_input(schema: Schema, given: Mapping[str, Any]) -> str | None:
    """The first required parameter that is free, else the first free one that takes text."""
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in given:
            return str(name)
    for name, each in properties.items():
        if name not in given and accepted_types(each, schema) & {"string", "array", "any"}:
            return str(name)
    return None


class _Binder:
    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._properties: Schema = schema.get("properties", {})
        self.values: dict[str, Any] = {}

    def take_named(self, pending: list[Given]) -> list[Given]:
        """Take options and `name=value`; returns the bare words."""
        words = []
        while pending:
            given = pending.pop(0)
            if given.kind == "word":
                words.append(given)
            elif given.kind == "keyed":
                self._set(self._known(given.name, f"{given.name}="), given)
            else:
                self._option(given, pending)
        return words

    def take_words(self, words: list[Given], reserved: str | None) -> None:
        """Fill parameters in order, leaving the reserved one out."""
        required = [name for name in self._schema.get("required", ()) if name in self._properties]
        ordered = [*required, *(name for name in self._properties if name not in required)]
        free = [name for name in ordered if name not in self.values and name != reserved]
        for word in words:
            if not free:
                raise InvalidArguments(
                    f"unexpected word {text_of(word.value)[:40]!r}",
                    hint="put quotes around text that has blanks",
                )
            is_list = self._is_list(free[0])
            self._set(free[0] if is_list else free.pop(0), word)

    def _option(self, given: Given, pending: list[Given]) -> None:
        name = given.name.replace("-", "_")
        if name not in self._properties and name.startswith("no_"):
            positive = name.removeprefix("no_")
            if positive in self._properties and self._is_flag(positive):
                self.values[positive] = False
                return
        name = self._known(given.name, f"--{given.name}")
        if given.value is not None:
            self._set(name, given)
        elif self._is_flag(name):
            is_word = pending and pending[0].kind == "word" and _is_truth(pending[0])
            self._set(name, pending.pop(0)) if is_word else self.values.__setitem__(name, True)
        elif pending and pending[0].kind != "option":
            self._set(name, _whole(pending.pop(0)))
        else:
            kind = type_text(self._properties[name], self._schema)
            raise InvalidArguments(f"--{given.name} needs a value", hint=f"its type is {kind}")

    def _known(self, given: str, shown: str) -> str:
        name = given.replace("-", "_")
        if name in self._properties:
            return name
        options = [option(known) for known in self._properties]
        takes = f"it takes {', '.join(options)}" if options else "it takes no arguments"
        hint = did_you_mean(option(name), options, otherwise=takes)
        if shown.endswith("="):
            hint += "; text with = in it needs quotes"
        raise InvalidArguments(f"no argument is called {shown.rstrip('=')}", hint=hint)

    def _is_flag(self, name: str) -> bool:
        return "boolean" in accepted_types(self._properties[name], self._schema)

    def _is_list(self, name: str) -> bool:
        return "array" in accepted_types(self._properties[name], self._schema)

    def _set(self, name: str, given: Given) -> None:
        schema = self._properties[name]
        if given.is_typed:
            value = convert(name, str(given.value), resolve(schema, self._schema), self._schema)
        else:
            value = fit(name, given.value, schema, self._schema)
        before = self.values.get(name)
        if isinstance(before, list) and isinstance(value, list):
            value = before + value
        elif isinstance(before, dict) and isinstance(value, dict):
            value = {**before, **value}
        self.values[name] = value


def _whole(given: Given) -> Given:
    """`a=b` behind an option is its value, as a text."""
    if given.kind != "keyed":
        return given
    return Given(f"{given.name}={text_of(given.value)}", is_typed=True)


def _is_truth(given: Given) -> bool:
    return str(given.value).lower() in {"true", "false"}


def _require(values: Schema, schema: Schema) -> None:
    missing = [option(name) for name in schema.get("required", ()) if name not in values]
    if missing:
        raise InvalidArguments(
            f"missing {'argument' if len(missing) == 1 else 'arguments'} {', '.join(missing)}",
            hint="/help NAME lists every argument",
        )
