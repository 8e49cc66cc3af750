"""Tables of any length in the width of the terminal; wide characters count as two columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prompt_toolkit.utils import get_cwidth

from lingos_shell.tables import printable

GAP = 2
NARROWEST = 12
"""Columns are not made narrower than this; what does not fit then is left out."""


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, width: int
) -> Iterator[str]:
    """Header and rows; empty columns are left out, the widest are cut until all fit."""
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    cells = [[printable(row[i]) for i in kept] for row in rows]
    heads = [columns[i].upper() for i in kept]
    widths = _fitted(
        [max(get_cwidth(head), *(get_cwidth(row[i]) for row in cells))
         for i, head in enumerate(heads)],
        width,
    )  # fmt: skip
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(widths))]
    for row in (heads, *cells):
        yield (
            (" " * GAP)
            .join(
                _padded(cell, size, to_the_right=right)
                for cell, size, right in zip(row, widths, numeric, strict=False)
            )
            .rstrip()
        )


def _fitted(widths: list[int], width: int) -> list[int]:
    """Column widths that fit, the widest cut first; the last columns go when that is not enough."""
    while widths and sum(min(w, NARROWEST) + GAP for w in widths) - GAP > width:
        widths = widths[:-1]
    spare = width - sum(w + GAP for w in widths) + GAP
    while spare < 0:
        widest = max(widths)
        second = max((w for w in widths if w < widest), default=NARROWEST)
        at = widths.index(widest)
        cut = min(-spare, max(widest - max(second, NARROWEST), 1))
        widths[at] -= cut
        spare += cut
    return widths


def _padded(cell: str, size: int, *, to_the_right: bool) -> str:
    taken = get_cwidth(cell)
    if taken > size:
        return _cut(cell, size)
    blanks = " " * (size - taken)
    return blanks + cell if to_the_right else cell + blanks


def _cut(cell: str, size: int) -> str:
    """The beginning of a cell with an ellipsis, exactly `size` columns wide."""
    taken, kept = 0, []
    for character in cell:
        taken += get_cwidth(character)
        if taken > size - 1:
            break
        kept.append(character)
    text = "".join(kept) + "…"
    return text + " " * (size - get_cwidth(text))


def _is_number(cell: str) -> bool:
    return not cell or cell.replace(".", "", 1).replace("-", "", 1).isdecimal()
