"""Python values as the language and models take them: JSON as it is, the rest as text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

MAX_ROWS = 200
"""Rows of a table that are given as context."""


def context_value(value: Any) -> Any:
    """A value as JSON, or as text that says what it is.

    Tables (anything with `to_csv`) become CSV, figures a description of their axes and lines,
    arrays lists, paths their names. Nothing of it raises.
    """
    if isinstance(value, PurePath):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return context_value(dataclasses.asdict(value))
    for mark, convert in _BY_MARK.items():
        if hasattr(value, mark):
            return convert(value)
    if isinstance(value, set | frozenset | tuple):
        return [context_value(item) for item in value]
    if isinstance(value, list):
        return [context_value(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): context_value(item) for key, item in value.items()}
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return str(value)
    return value


def _table(table: Any) -> str:
    rows = len(table)
    text = str(table.head(MAX_ROWS).to_csv() if rows > MAX_ROWS else table.to_csv())
    return f"{text}({rows - MAX_ROWS} more rows)\n" if rows > MAX_ROWS else text


def _figure(figure: Any) -> str:
    """A plot in words: what each of its axes shows, with the values of its lines' ends."""
    parts = []
    for number, axes in enumerate(figure.get_axes(), start=1):
        title = axes.get_title() or f"axes {number}"
        parts.append(
            f"{title}: x {axes.get_xlabel() or 'unnamed'} {_span(axes.get_xlim())},"
            f" y {axes.get_ylabel() or 'unnamed'} {_span(axes.get_ylim())}"
        )
        for line in axes.get_lines():
            points = [[float(x), float(y)] for x, y in zip(*line.get_data(), strict=True)]
            shown = points if len(points) <= 50 else points[:: len(points) // 50]
            parts.append(f"  line {line.get_label()}: {json.dumps(shown)}")
    return "A figure.\n" + "\n".join(parts)


def _span(limits: Any) -> str:
    low, high = limits
    return f"{low:g} to {high:g}"


_BY_MARK: Mapping[str, Callable[[Any], Any]] = {
    "model_dump": lambda model: context_value(model.model_dump(mode="json")),
    "to_csv": _table,
    "get_axes": _figure,
    "tolist": lambda array: context_value(array.tolist()),
}
"""What to do with objects of libraries that need not be there, by an attribute of theirs."""
