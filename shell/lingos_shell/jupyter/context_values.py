"""Python values as the language and models take them: JSON as it is, the rest as text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from lingos_shell.jupyter.figures import figure_text

MAX_ROWS = 200
"""Rows of a table that are given as context."""
MAX_CHARACTERS = 100_000
"""Of a table's text: some have thousands of columns."""
MAX_NUMBERS = 10_000
"""Of an array that is given as numbers: vectors are whole, matrices of data are described."""


def context_value(value: Any) -> Any:
    """A value as JSON, or as text that says what it is.

    Tables (anything with `to_csv`) become CSV, figures a description of what they show, arrays
    lists, paths their names; what holds itself is text.
    """
    try:
        return _converted(value)
    except RecursionError:
        return str(value)


def _converted(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _converted(dataclasses.asdict(value))
    for mark, convert in _BY_MARK.items():
        if hasattr(value, mark):
            return convert(value)
    if isinstance(value, set | frozenset | tuple):
        return [_converted(item) for item in value]
    if isinstance(value, list):
        return [_converted(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _converted(item) for key, item in value.items()}
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _table(table: Any) -> str:
    rows = len(table)
    text = str(table.head(MAX_ROWS).to_csv() if rows > MAX_ROWS else table.to_csv())
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]}\n(cut after {MAX_CHARACTERS} characters)\n"
    return f"{text}({rows - MAX_ROWS} more rows)\n" if rows > MAX_ROWS else text


def _array(array: Any) -> Any:
    """Lists of numbers; a description where there are more than anybody reads."""
    if getattr(array, "size", 0) <= MAX_NUMBERS:
        return context_value(array.tolist())
    shape = " x ".join(map(str, array.shape))
    first = context_value(array.reshape(-1)[:10].tolist())
    facts = f"of {shape} values ({array.dtype}), {array.min()} to {array.max()}"
    return f"An array {facts}; it begins {first}"


_BY_MARK: Mapping[str, Callable[[Any], Any]] = {
    "model_dump": lambda model: context_value(model.model_dump(mode="json")),
    "to_csv": _table,
    "get_axes": figure_text,
    "tolist": _array,
}
"""What to do with objects of libraries that need not be there, by an attribute of theirs."""
