"""How a call goes and what comes of it: text as it streams, then a table, Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.widgets import Static

from lingos_shell.tui.lines import SpanLines
from lingos_shell.tui.spans import Line, clean, fit_line
from lingos_shell.tui.units import seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lingos_shell.tui.markdown import MarkdownLines

MAX_ROWS = 500
MAX_CELL = 40
GAP = 2
"""Cells between two columns."""
MAX_TEXT = 200_000
"""Characters of JSON that are shown."""


class ResultView(Vertical):
    """Status, streamed text, result."""

    DEFAULT_CSS = """
    ResultView { height: auto; margin-top: 1; display: none; }
    ResultView.open { display: block; }
    ResultView #status { margin-bottom: 1; }
    """

    def __init__(self, **widget: Any) -> None:
        super().__init__(**widget)
        self._text: MarkdownLines | None = None
        self._items: list[Any] = []

    def compose(self) -> ComposeResult:
        """The line that says how it goes; the rest comes with the call."""
        yield SpanLines(id="status")

    async def begin(self) -> None:
        """Another call begins."""
        self._items, self._text = [], None
        await self.query("MarkdownLines, Static").remove()
        self.add_class("open")

    def status(self, line: Line) -> None:
        """How it goes."""
        self.query_one("#status", SpanLines).show(lambda width: [fit_line(line, width)])

    async def take(self, item: Any) -> None:
        """A piece of a stream: text is shown as Markdown at once, data as JSON lines."""
        if isinstance(item, Mapping) and isinstance(item.get("text"), str) and len(item) <= 2:
            await self._write(item["text"])
            return
        self._items.append(item)
        if len(self._items) <= MAX_ROWS:
            await self.mount(Static(_one_line(item), markup=False))

    async def _write(self, text: str) -> None:
        from lingos_shell.tui.markdown import MarkdownLines

        if self._text is None:
            self._text = MarkdownLines()
            await self.mount(self._text)
        await self._text.append(text)

    async def end(self, result: Any, took_s: float) -> None:
        """The result is there; what was streamed already is not shown twice."""
        self.status((("done", "good"), (f" in {seconds(took_s)}{_facts(result)}", "label")))
        if self._text is not None:
            return
        await self.query(Static).remove()
        await self._show(result)

    async def _show(self, result: Any) -> None:
        text = result.get("text") if isinstance(result, Mapping) else result
        if isinstance(text, str):
            await self._write(text)
        else:
            await self.mount(Static(rendered(result, self.size.width)))

    async def failed(self, message: str, hint: str, took_s: float) -> None:
        """It ended in an error."""
        self.status((("failed", "bad"), (f" after {seconds(took_s)}", "label")))
        await self.mount(Static(f"{message}\n{hint}".strip(), markup=False))

    async def cancelled(self) -> None:
        """A person has ended it."""
        self.status((("cancelled", "warn"),))


def _facts(result: Any) -> str:
    if isinstance(result, Mapping) and isinstance(usage := result.get("usage"), Mapping):
        return f" · {usage.get('output_tokens', 0)} tokens"
    return f" · {len(result)} rows" if isinstance(result, list) else ""


def _one_line(item: Any) -> str:
    return clean(json.dumps(item, ensure_ascii=False))


def is_table(data: Any) -> bool:
    """Whether data is a list of objects with the same keys."""
    if not isinstance(data, list) or not data or not all(isinstance(r, Mapping) for r in data):
        return False
    return all(row.keys() == data[0].keys() for row in data)


def rendered(data: Any, width: int) -> RenderableType:
    """A table for rows that are alike, as far as its columns fit; else JSON."""
    from rich.json import JSON
    from rich.text import Text

    if is_table(data):
        return _table(data, width)
    text = json.dumps(data, ensure_ascii=False, indent=2)
    if len(text) > MAX_TEXT:
        return Text(f"{text[:MAX_TEXT]}\n… {len(text)} characters in all")
    return JSON(text)


def columns_that_fit(rows: Sequence[Mapping[str, Any]], width: int) -> dict[str, int]:
    """Names and widths of the columns to show: the name first, lists and objects last."""

    def is_nested(key: str) -> bool:
        return any(isinstance(row[key], dict | list) for row in rows)

    keys = sorted(rows[0], key=lambda key: (key != "name", is_nested(key)))
    shown: dict[str, int] = {}
    left = width
    for key in keys:
        size = min(max(cell_len(key), *(cell_len(_cell(row[key])) for row in rows)), MAX_CELL)
        if size + GAP <= left:
            shown[key] = size
            left -= size + GAP
    return shown or {keys[0]: max(width - GAP, 1)}


def _table(rows: Sequence[Mapping[str, Any]], width: int) -> RenderableType:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False)
    shown = columns_that_fit(rows[:MAX_ROWS], width)
    for key, size in shown.items():
        is_number = all(isinstance(row[key], int | float) for row in rows)
        justify: Literal["left", "right"] = "right" if is_number else "left"
        table.add_column(
            key, justify=justify, overflow="ellipsis", no_wrap=True, width=size, min_width=size
        )
    for row in rows[:MAX_ROWS]:
        table.add_row(*(Text(_cell(row[key])) for key in shown))
    notes = [f"{MAX_ROWS} of {len(rows)} rows"] if len(rows) > MAX_ROWS else []
    if hidden := [key for key in rows[0] if key not in shown]:
        notes.append(f"no room for {', '.join(hidden)}")
    table.caption = Text("; ".join(notes)) if notes else None
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return clean(value) if isinstance(value, str) else _one_line(value)
