"""Styled text without a screen: what the pure half of the interface makes and widgets draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from rich.cells import cell_len, set_cell_size

Role = Literal[
    "text", "dim", "strong", "label", "good", "warn", "bad", "accent",
    "weights", "kv", "cached", "other", "free", "chip", "alarm",
]  # fmt: skip
"""What a piece of text means; the theme says how it looks."""
ROLES: tuple[Role, ...] = get_args(Role)

Span = tuple[str, Role]
Line = tuple[Span, ...]

ELLIPSIS = "…"


def plain(line: Line) -> str:
    """The line's text."""
    return "".join(text for text, _ in line)


def width_of(line: Line) -> int:
    """Terminal cells that the line takes."""
    return sum(cell_len(text) for text, _ in line)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly `width` cells (wide characters take 2): padded, or cut with "…"."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + ELLIPSIS if width > 0 else ""
    padding = " " * (width - size)
    return padding + text if right else text + padding


def clean(text: str) -> str:
    """The text without control and direction characters, so that a name cannot move the cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def fit_line(line: Line, width: int) -> Line:
    """The line in exactly `width` cells."""
    spans: list[Span] = []
    left = width
    for text, role in line:
        size = cell_len(text)
        if size > left:
            if left > 0:
                spans.append((fit(text, left), role))
            return tuple(spans)
        spans.append((text, role))
        left -= size
    if left:
        spans.append((" " * left, "text"))
    return tuple(spans)


def pack(groups: Iterable[Sequence[Span]], width: int, gap: int = 3) -> Line:
    """Groups from left to right as far as they fit whole; the last ones fall away first."""
    spans: list[Span] = []
    left = width
    for group in groups:
        size = width_of(tuple(group)) + (gap if spans else 0)
        if size > left:
            break
        if spans:
            spans.append((" " * gap, "text"))
        spans.extend(group)
        left -= size
    return tuple(spans)
