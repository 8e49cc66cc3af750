"""Words of a command line become the typed arguments of a syscall, by its JSON schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.names import did_you_mean

Schema = Mapping[str, Any]
ReadFile = Callable[[str], str]

TRUE_WORDS = frozenset({"true", "yes", "on", "1"})
FALSE_WORDS = frozenset({"false", "no", "off", "0"})
PATH_FORMATS = frozenset({"path", "file-path", "directory-path"})


def parse_arguments(
    words: Iterable[str], schema: Schema, *, read_file: ReadFile, given: Schema | None = None
) -> dict[str, Any]:
    """The arguments object that the words describe.

    `--name value`, `--name=value`, `--flag`, `--no-flag`; repeating a list's option appends;
    `@file` stands for a file's contents (`@@` for a literal `@`); bare words fill the required
    arguments in order, then the optional ones, as in the shell's language. `given` (from
    `--args-json`) comes first and words replace it.
    Raises `InvalidArguments` naming the argument.
    """
    reader = _Reader(schema, read_file)
    pending = list(words)
    while pending:
        reader.take(pending)
    arguments = {**(given or {}), **reader.values}
    _require(arguments, schema)
    return arguments


def convert(name: str, text: str, schema: Schema, root: Schema) -> Any:
    """One word as a value of the schema's type. Raises `InvalidArguments`."""
    schema = resolve(schema, root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        return _first_that_fits(name, text, branches, root)
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None:
        return _choice(name, text, allowed)
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return _first_that_fits(name, text, [{**schema, "type": kind} for kind in kinds], root)
    return _CONVERTERS[kinds](name, text, schema, root)


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema that a local `$ref` points at, or the schema itself."""
    while "$ref" in schema:
        target: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[part]
        schema = target
    return schema


def type_text(schema: Schema, root: Schema) -> str:
    """A schema's type in a few words, for help: `integer`, `list of string`, `a|b`."""
    schema = resolve(schema, root)
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches:
        names = dict.fromkeys(type_text(branch, root) for branch in branches)
        return "|".join(name for name in names if name != "null")
    if "enum" in schema:
        return "|".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kinds = schema.get("type", "any")
    if isinstance(kinds, list):
        return "|".join(kind for kind in kinds if kind != "null")
    if kinds == "array":
        return f"list of {type_text(schema.get('items', {}), root)}"
    if schema.get("format") in PATH_FORMATS:
        return "path"
    return str(kinds)


class _Reader:
    """Takes words from the front and keeps the values they gave."""

    def __init__(self, schema: Schema, read_file: ReadFile) -> None:
        self._schema = schema
        self._properties: Schema = schema.get("properties", {})
        self._read_file = read_file
        self.values: dict[str, Any] = {}
        self._filled = ""
        """What the last bare word has filled: a list takes those that follow, too."""

    def take(self, pending: list[str]) -> None:
        """Consume one option with its value, or one bare word."""
        word = pending.pop(0)
        if word == "--":
            for rest in pending:
                self._positional(rest)
            pending.clear()
        elif word.startswith("--"):
            self._option(word, pending)
        else:
            self._positional(word)

    def _option(self, word: str, pending: list[str]) -> None:
        flag, equals, inline = word[2:].partition("=")
        name = flag.replace("-", "_")
        if name not in self._properties and name.startswith("no_"):
            name = self._negated(name.removeprefix("no_"), flag)
            self.values[name] = False
            return
        kind = self._kind(name, flag)
        if equals:
            self._set(name, inline)
        elif "boolean" in kind:
            is_word = bool(pending) and pending[0].lower() in {"true", "false"}
            self._set(name, pending.pop(0) if is_word else "true")
        elif pending:
            self._set(name, pending.pop(0))
        else:
            raise InvalidArguments(f"--{flag} needs a value", hint=f"its type is {kind}")

    def _negated(self, name: str, flag: str) -> str:
        if name in self._properties and "boolean" in self._kind(name, flag):
            return name
        raise self._unknown(flag)

    def _kind(self, name: str, flag: str) -> str:
        if name not in self._properties:
            raise self._unknown(flag)
        return type_text(self._properties[name], self._schema)

    def _unknown(self, flag: str) -> InvalidArguments:
        names = [option(name) for name in self._properties]
        takes = f"it takes {', '.join(names)}" if names else "it takes no arguments"
        return InvalidArguments(
            f"no argument is called --{flag}",
            hint=did_you_mean(f"--{flag}", names, otherwise=takes),
        )

    def _positional(self, word: str) -> None:
        required = self._schema.get("required", ())
        for name in (*required, *(n for n in self._properties if n not in required)):
            is_list = "items" in self._properties[name]
            if name not in self.values or (is_list and name == self._filled):
                self._filled = name
                self._set(name, word)
                return
        raise InvalidArguments(
            f"unexpected word {word!r}", hint="put quotes around text that has blanks"
        )

    def _set(self, name: str, text: str) -> None:
        schema = self._properties[name]
        value = convert(name, self._expand(text), schema, self._schema)
        if isinstance(value, list) and isinstance(self.values.get(name), list):
            self.values[name] = self.values[name] + value
        elif isinstance(value, dict) and isinstance(self.values.get(name), dict):
            self.values[name] = {**self.values[name], **value}
        else:
            self.values[name] = value

    def _expand(self, text: str) -> str:
        if text.startswith("@@"):
            return text[1:]
        return self._read_file(text[1:]) if text.startswith("@") and len(text) > 1 else text


def option(name: str) -> str:
    """The option that stands for an argument."""
    return "--" + name.replace("_", "-")


def _require(arguments: Schema, schema: Schema) -> None:
    missing = [option(name) for name in schema.get("required", ()) if name not in arguments]
    if missing:
        raise InvalidArguments(
            f"missing {'argument' if len(missing) == 1 else 'arguments'} {', '.join(missing)}",
            hint="add it; --help lists every argument",
        )


def _first_that_fits(name: str, text: str, branches: Iterable[Schema], root: Schema) -> Any:
    resolved = [resolve(branch, root) for branch in branches]
    # Text fits everything, so it is tried last; null is only ever the word `null`.
    ordered = sorted(resolved, key=lambda branch: branch.get("type") == "string")
    failure: InvalidArguments | None = None
    for branch in ordered:
        try:
            return convert(name, text, branch, root)
        except InvalidArguments as error:
            if branch.get("type") != "null":
                failure = error
    assert failure is not None
    raise failure


def _choice(name: str, text: str, allowed: Iterable[Any]) -> Any:
    choices = list(allowed)
    for value in choices:
        if text == str(value):
            return value
    names = ", ".join(str(value) for value in choices)
    raise InvalidArguments(f"{option(name)}: {text!r} is not allowed", hint=f"one of {names}")


def _integer(name: str, text: str, _schema: Schema, _root: Schema) -> int:
    try:
        return int(text)
    except ValueError:
        raise _wrong_type(name, text, "an integer") from None


def _number(name: str, text: str, _schema: Schema, _root: Schema) -> float:
    try:
        return float(text)
    except ValueError:
        raise _wrong_type(name, text, "a number") from None


def _boolean(name: str, text: str, _schema: Schema, _root: Schema) -> bool:
    word = text.lower()
    if word in TRUE_WORDS | FALSE_WORDS:
        return word in TRUE_WORDS
    raise _wrong_type(name, text, "true or false")


def _null(name: str, text: str, _schema: Schema, _root: Schema) -> None:
    if text != "null":
        raise _wrong_type(name, text, "null")


def _string(_name: str, text: str, schema: Schema, _root: Schema) -> str:
    # The kernel works in another folder than the caller.
    return str(Path(text).expanduser().absolute()) if schema.get("format") in PATH_FORMATS else text


def _array(name: str, text: str, schema: Schema, root: Schema) -> list[Any]:
    if text.lstrip().startswith("["):
        value = _json(name, text)
        if isinstance(value, list):
            return value
    return [convert(name, text, schema.get("items", {"type": "string"}), root)]


def _object(name: str, text: str, schema: Schema, root: Schema) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        value = _json(name, text)
        assert isinstance(value, dict)
        return value
    key, equals, item = text.partition("=")
    if not equals:
        raise _wrong_type(name, text, "a JSON object, or key=value")
    properties = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    fallback = extra if isinstance(extra, Mapping) else {}
    return {key: convert(f"{name}.{key}", item, properties.get(key, fallback), root)}


def _any(_name: str, text: str, _schema: Schema, _root: Schema) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidArguments(
            f"{option(name)} is not valid JSON: {error}", hint="quote it for the shell: '{...}'"
        ) from None


def _wrong_type(name: str, text: str, wanted: str) -> InvalidArguments:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return InvalidArguments(
        f"{option(name)} must be {wanted}, not {shown!r}",
        hint=f"give {wanted} after {option(name)}",
    )


_CONVERTERS: Mapping[str, Callable[[str, str, Schema, Schema], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "null": _null,
    "string": _string,
    "array": _array,
    "object": _object,
    "any": _any,
}
