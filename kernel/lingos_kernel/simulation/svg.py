"""Small plots as SVG text: lines over a logarithmic or linear axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 150, 28, 40
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#7f7f7f", "#8c564b")


def cumulative_plot(title: str, label: str, series: Mapping[str, Sequence[float]]) -> str:
    """For each name the share of its values that are at most x; x is logarithmic."""
    positive = [value for values in series.values() for value in values if value > 0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    high = max(high, low + 1)
    scale = _Scale(low, high)
    ticks = [(exponent, _power(exponent)) for exponent in range(low, high + 1)]
    shapes = []
    for number, (name, values) in enumerate(series.items()):
        ordered = sorted(max(math.log10(v), low) if v > 0 else float(low) for v in values)
        indices = range(0, len(ordered), max(len(ordered) // 200, 1))
        points = [(ordered[index], (index + 1) / len(ordered)) for index in indices]
        points.append((ordered[-1], 1.0))
        shapes += [_line(scale, points, number), _legend(name, number)]
    return _document(title, label, scale, ticks, shapes)


class _Scale:
    """From values to pixels; y is 0 to 1."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def x(self, value: float) -> float:
        """Pixels from the left."""
        return LEFT + (value - self._low) / (self._high - self._low) * (WIDTH - LEFT - RIGHT)

    def y(self, share: float) -> float:
        """Pixels from the top."""
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _power(exponent: int) -> str:
    return f"{10**exponent:g}"


def _line(scale: _Scale, points: Sequence[tuple[float, float]], number: int) -> str:
    path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in points)
    colour = COLOURS[number % len(COLOURS)]
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _legend(name: str, number: int) -> str:
    x, y = WIDTH - RIGHT + 12, TOP + 12 + 18 * number
    colour = COLOURS[number % len(COLOURS)]
    return (
        f'<line x1="{x}" y1="{y}" x2="{x + 18}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<text x="{x + 24}" y="{y + 4}">{escape(name)}</text>'
    )


def _document(
    title: str,
    label: str,
    scale: _Scale,
    ticks: Sequence[tuple[float, str]],
    shapes: Sequence[str],
) -> str:
    grid = []
    for value, text in ticks:
        x = scale.x(value)
        grid.append(_rule(x, scale.y(0), x, scale.y(1)))
        grid.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" class="t">{text}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = scale.y(share)
        grid.append(_rule(LEFT, y, WIDTH - RIGHT, y))
        grid.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="e">{share:.0%}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
            ' font-family="sans-serif" font-size="12">',
            "<style>.t{text-anchor:middle}.e{text-anchor:end}.h{font-weight:bold}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{middle}" y="18" class="t h">{escape(title)}</text>',
            *grid,
            *shapes,
            f'<text x="{middle}" y="{HEIGHT - 6}" class="t">{escape(label)}</text>',
            "</svg>\n",
        ]
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
