"""One setting: its type and bounds, how a text is read as its value, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from lingos_kernel.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting's key, type and bounds."""

    key: str
    kind: Any
    bounds: Mapping[str, Any]

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "LINGOS_" + self.key.replace(".", "_").upper()


TEXTS = Mapping[str, str]
"""The type of a table of texts by name."""
NUMBERS = Mapping[str, float]
"""The type of a table of numbers by name; bounds are those of each."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def parse(setting: Setting, text: str) -> Any:
    """The typed value of a text, or the text itself where it does not parse (checked later)."""
    if setting.kind == (tuple[str, ...] | None):
        return [part.strip() for part in text.split(",") if part.strip()]
    if setting.kind == TEXTS:
        pairs = [part.partition("=") for part in text.split(";") if part.strip()]
        return {name.strip(): value.strip() for name, _, value in pairs}
    if setting.kind == NUMBERS:
        return _parse_numbers(text)
    folded = text.strip().lower()
    if setting.kind is bool:
        return True if folded in _TRUE else False if folded in _FALSE else text
    if setting.kind in (int, float):
        try:
            return setting.kind(folded)
        except ValueError:
            return text
    return text


def _parse_numbers(text: str) -> Any:
    """`one=3, two=0.5` as a table, or the text itself."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    try:
        return {name.strip(): float(number) for name, _, number in pairs}
    except ValueError:
        return text


def check(setting: Setting, value: Any, where: str, base: Path | None = None) -> Any:
    """The value in its own type; raises `ConfigError` when it is not one of the setting's."""
    kind = setting.kind
    wrong = object()
    good = wrong
    if kind is Path:
        if isinstance(value, str | Path) and str(value):
            good = (base or Path.cwd()) / Path(value).expanduser()
    elif kind == (tuple[str, ...] | None):
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            good = tuple(value)
    elif kind == TEXTS:
        good = dict(value) if _is_texts(value) else wrong
    elif kind == NUMBERS:
        good = dict(value) if _is_numbers(value, setting.bounds) else wrong
    elif get_origin(kind) is Literal:
        good = value if value in get_args(kind) else wrong
    elif _is_a(value, kind) and _within(value, setting.bounds):
        good = kind(value)
    if good is wrong:
        raise ConfigError(
            f"{where}: {setting.key} = {value!r} is not allowed",
            hint=f"{setting.key} is {_allowed(setting)}",
        )
    return good


def _is_texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


def _is_numbers(value: Any, bounds: Mapping[str, Any]) -> bool:
    return isinstance(value, Mapping) and all(
        _is_a(number, float) and math.isfinite(number) and _within(number, bounds)
        for number in value.values()
    )


def _is_a(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _within(value: Any, bounds: Mapping[str, Any]) -> bool:
    if "minimum" in bounds and not value >= bounds["minimum"]:
        return False
    return "above" not in bounds or value > bounds["above"]


def _allowed(setting: Setting) -> str:
    if get_origin(setting.kind) is Literal:
        return "one of " + ", ".join(get_args(setting.kind))
    if setting.kind == TEXTS:
        return "a table of texts by name"
    names = {
        NUMBERS: "a table of numbers by name, each",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
    }
    name = names.get(setting.kind, "a list of names")
    if "minimum" in setting.bounds:
        return f"{name}, at least {setting.bounds['minimum']}"
    return f"{name} above {setting.bounds['above']}" if "above" in setting.bounds else name
