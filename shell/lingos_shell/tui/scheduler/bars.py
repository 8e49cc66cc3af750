"""Bars and graphs made of characters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lingos_shell.tui.spans import Line, Role, Span

BLOCKS = " ▁▂▃▄▅▆▇█"
COLOURED = "━"
TRACK = "─"
GLYPHS: dict[Role, str] = {"weights": "█", "kv": "▓", "cached": "▒", "other": "░"}
"""Without colours each part of a bar has a glyph of its own."""


def bar(parts: Sequence[tuple[float, Role]], total: float, width: int, *, mono: bool) -> Line:
    """A bar of `width` cells whose parts are shares of `total`; what is left is the track.

    A part that is not zero gets a cell at least, as long as there is room.
    """
    spans: list[Span] = []
    left = width
    done = 0.0
    drawn = 0
    for value, role in parts:
        done += max(value, 0.0)
        end = round(min(done / total, 1.0) * width) if total > 0 else 0
        cells = min(max(end - drawn, 1 if value > 0 else 0), left)
        if cells:
            glyph = GLYPHS.get(role, "█") if mono else COLOURED
            spans.append((glyph * cells, role))
        left -= cells
        drawn += cells
    if left:
        spans.append(((" " if mono else TRACK) * left, "free"))
    return tuple(spans)


def graph(values: Sequence[float], width: int, height: int, top: float, role: Role) -> list[Line]:
    """The last `width` values as columns of up to `height` lines, `top` being full height.

    Newest at the right; lines from the top down.
    """
    shown = list(values)[-width:]
    full = 8 * height
    levels = [round(min(value / top, 1.0) * full) if top > 0 else 0 for value in shown]
    # A value above zero is seen, however small.
    levels = [max(level, 1) if value > 0 else 0 for level, value in zip(levels, shown, strict=True)]
    padding = " " * (width - len(shown))
    lines: list[Line] = []
    for row in range(height - 1, -1, -1):
        text = "".join(BLOCKS[min(max(level - 8 * row, 0), 8)] for level in levels)
        lines.append(((padding + text, role),))
    return lines
