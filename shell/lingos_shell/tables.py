"""Tables for people: no lines, left-aligned, as ps and ls write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def plain_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[str] = ()
) -> Table:
    """A table of plain text; `right` names the columns of numbers, aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    to_the_right = set(right)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        is_last = index == len(columns) - 1
        table.add_column(
            column,
            justify="right" if column in to_the_right else "left",
            overflow="fold" if is_last else "ellipsis",
            no_wrap=not is_last,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def printable(text: str) -> str:
    """The text without control characters, so that a name cannot move the cursor."""
    return "".join(c if c.isprintable() else " " for c in text)
