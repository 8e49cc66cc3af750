"""Long texts and tables in little room: what is shown at once, and how much more there is."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from lingos_shell.tui.spans import Line, Span, clean, fit

MAX_LINES = 200
"""Of an output in the transcript; all of it is a key away."""
MAX_CHARACTERS = 20_000
MAX_LINE = 2_000
"""Characters of one line."""
MAX_ROWS = 50
GAP, NARROWEST = 2, 8


def clip(text: str, *, lines: int = MAX_LINES) -> tuple[str, int]:
    """The beginning of a text, and how many of its lines are not (or not whole) in it.

    Control and direction characters become blanks, so that no output can move the cursor.
    """
    shown: list[str] = []
    left = MAX_CHARACTERS
    every = text.splitlines()
    for line in every[:lines]:
        if left <= 0:
            break
        kept = clean(line[: min(MAX_LINE, left)].expandtabs(4))
        left -= len(kept) + 1
        shown.append(kept if len(line) <= MAX_LINE else f"{kept}…")
    return "\n".join(shown), len(every) - len(shown)


def clean_lines(text: str) -> str:
    """The text without control characters other than line ends."""
    return "\n".join(clean(line.expandtabs(4)) for line in text.splitlines())


def more_text(count: int, what: str) -> str:
    """What stands below something that was cut."""
    return f"… {count:,} {what} more; Enter shows all"


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, limit: int = MAX_ROWS
) -> list[Line]:
    """Head and rows in a width of cells: columns that are empty are left out, wide ones cut.

    Of the rows the first `limit` are shown, and a note says how many more there are.
    """
    shown = [[clean(cell) for cell in row] for row in rows[:limit]]
    kept = [at for at in range(len(columns)) if any(row[at] for row in shown)]
    natural = [max(cell_len(columns[at]), *(cell_len(row[at]) for row in shown)) for at in kept]
    widths = fitted(natural, width)
    numbers = [all(_is_number(row[at]) for row in shown) for at in kept]
    made = [_row([columns[at].upper() for at in kept], widths, numbers, "label")]
    made += [_row([row[at] for at in kept], widths, numbers, "text") for row in shown]
    left_out = len(kept) - len(widths)
    if left_out:
        made.append(((f"… {left_out} columns more", "dim"),))
    if len(rows) > limit:
        made.append(((more_text(len(rows) - limit, "rows"), "dim"),))
    return made


def fitted(widths: Sequence[int], width: int) -> list[int]:
    """Column widths that fit: the widest are cut first; the last columns go if that is too little.

    The first column always stays.
    """
    found = list(widths)
    while len(found) > 1 and sum(min(w, NARROWEST) + GAP for w in found) - GAP > width:
        found.pop()
    while (over := sum(found) + GAP * (len(found) - 1) - width) > 0 and found:
        widest = max(found)
        second = max((w for w in found if w < widest), default=1)
        at = found.index(widest)
        if widest <= 1:
            break
        found[at] -= max(1, min(over, widest - max(second, 1)))
    return found


def _row(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool], role: str) -> Line:
    spans: list[Span] = []
    for cell, width, is_number in zip(cells, widths, numbers, strict=False):
        text = fit(cell, width, right=is_number)
        spans.append((text + " " * GAP, role))  # type: ignore[arg-type]
    return tuple(spans)


def _is_number(cell: str) -> bool:
    return not cell or cell.replace(".", "", 1).replace("-", "", 1).isdecimal()
