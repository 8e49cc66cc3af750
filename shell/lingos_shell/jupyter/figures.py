"""A plot in words, for models that read text. Knows matplotlib's figures by their methods."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

MAX_POINTS = 50
"""Of one line, or bars of one group; evenly picked where there are more."""
MAX_SERIES = 20
"""Lines, groups of bars, clouds and pictures of one pair of axes."""


def figure_text(figure: Any) -> str:
    """What each of the figure's axes shows: its title, its ranges, its points."""
    parts = [_axes_text(number, axes) for number, axes in enumerate(figure.get_axes(), start=1)]
    return "A figure.\n" + "\n".join(parts)


def _axes_text(number: int, axes: Any) -> str:
    series = list(_series(axes))
    left = len(series) - MAX_SERIES
    lines = [
        f"{axes.get_title() or f'axes {number}'}:"
        f" x {axes.get_xlabel() or 'unnamed'} {_span(axes.get_xlim())},"
        f" y {axes.get_ylabel() or 'unnamed'} {_span(axes.get_ylim())}",
        *series[:MAX_SERIES],
        *([f"  ({left} more)"] if left > 0 else []),
    ]
    return "\n".join(lines)


def _series(axes: Any) -> Iterator[str]:
    for line in axes.get_lines():
        points = zip(*line.get_data(orig=False), strict=True)  # numbers, also of dates
        yield _points("line", line.get_label(), points)
    for bars in axes.containers:
        patches = getattr(bars, "patches", ())
        tops = ((bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in patches)
        yield _points("bars", bars.get_label(), tops)
    for cloud in axes.collections:
        yield _points("points", cloud.get_label(), cloud.get_offsets())
    for picture in axes.get_images():
        yield f"  a picture of {' x '.join(map(str, picture.get_array().shape))} values"


def _points(kind: str, label: Any, points: Iterable[Sequence[Any]]) -> str:
    pairs = [[float(f"{float(x):.6g}"), float(f"{float(y):.6g}")] for x, y in points]
    step = -(-len(pairs) // MAX_POINTS) or 1
    name = "" if str(label).startswith("_") else f" {label}"
    count = f" ({len(pairs)}, every {step}th)" if step > 1 else ""
    return f"  {kind}{name}{count}: {json.dumps(pairs[::step])}"


def _span(limits: Any) -> str:
    low, high = limits
    return f"{low:g} to {high:g}"
