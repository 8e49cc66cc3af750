"""Output for a terminal: Markdown in colours as it streams, tables that fit, the status below."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lingos_kernel.errors import LingOSError
from lingos_shell.language.sink import (
    AnswerEnd,
    AnswerText,
    Failed,
    HostOutput,
    Progressed,
    ShellEvent,
    Shown,
)
from lingos_shell.language.values import as_table, text_of
from lingos_shell.output import write
from lingos_shell.process_table import COLUMNS, process_cells
from lingos_shell.repl.markdown_style import MarkdownStyle, safe
from lingos_shell.repl.plain_sink import told
from lingos_shell.repl.status_line import StatusLine
from lingos_shell.repl.table import table_lines
from lingos_shell.units import bytes_text

DIM, RED, BOLD, RESET = "\x1b[2m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
Ask = Callable[[str], Awaitable[bool]]


class TerminalSink:
    """Writes what a run shows to the terminal."""

    def __init__(self, ask: Ask, *, has_colour: bool) -> None:
        """`ask` puts a yes-or-no question to the person."""
        self._ask = ask
        self._has_colour = has_colour
        self._markdown: MarkdownStyle | None = None
        self._at_line_start = True
        self._progress = ""
        self.status = StatusLine(write, has_colour=has_colour)
        self.last_result: Any = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the block a run writes, and the status line is shown."""
        with self.status.shown():
            try:
                yield
            finally:
                self.end_line()
                self._progress = ""

    def update_status(self, text: str) -> None:
        """Show the state of the kernel, or how far the call is."""
        self.status.update(f" {self._progress or text}")

    async def show(self, event: ShellEvent) -> None:
        """Write one event."""
        match event:
            case AnswerText(text):
                self._answer(text)
            case HostOutput(text):
                self._raw(text)
            case AnswerEnd(result):
                self.end_line()
                self._cut_note(result)
                self.last_result = result
            case Shown(value, source):
                self.end_line()
                self._value(value, source)
                self.last_result = value
            case Progressed():
                self._progress = _progress_text(event)
                self.update_status("")
            case Failed(error):
                self.end_line()
                self._raw(self.error_text(error))
            case _:
                self.end_line()
                self._raw(self._styled(DIM, safe(told(event))) + "\n")

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask the person."""
        self.end_line()
        shown = safe(json.dumps(arguments, ensure_ascii=False))
        return await self._ask(f"{name} {shown}\nDo it?")

    def error_text(self, error: LingOSError) -> str:
        """An error with its hint."""
        text = self._styled(RED, f"error: {safe(error.message)}") + "\n"
        return text + (f"hint: {safe(error.hint)}\n" if error.hint else "")

    def end_line(self) -> None:
        """Bring the cursor to the beginning of a line, with no style left on."""
        if self._markdown is not None:
            self._raw(self._markdown.finish())
            self._markdown = None
        if not self._at_line_start:
            self._raw("\n")

    def _answer(self, text: str) -> None:
        if not self._has_colour:
            self._raw(safe(text))
            return
        if self._markdown is None:
            self._markdown = MarkdownStyle()
        self._raw(self._markdown.push(text))
        self._at_line_start = text.endswith("\n")

    def _value(self, value: Any, source: str) -> None:
        if source in ("proc.list", "proc.tree") and isinstance(value, list):
            table: Any = (list(COLUMNS), [process_cells(r, r.get("depth", 0)) for r in value])
        else:
            table = as_table(value)
        if table is None:
            self._raw(safe(text_of(value)).rstrip("\n") + "\n")
            return
        width = shutil.get_terminal_size().columns
        head, *lines = table_lines(*table, width=width)
        self._raw(self._styled(BOLD, head) + "\n" + "".join(f"{line}\n" for line in lines))

    def _cut_note(self, result: Any) -> None:
        if isinstance(result, Mapping) and result.get("finish_reason") == "length":
            tokens = result.get("usage", {}).get("output_tokens", 0)
            told_of = f"cut after {tokens} tokens; /set max_tokens allows more"
            self._raw(self._styled(DIM, told_of) + "\n")

    def _raw(self, text: str) -> None:
        if text:
            write(text)
            self._at_line_start = text.endswith("\n")

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{RESET}" if self._has_colour else text


def _progress_text(event: Progressed) -> str:
    amount = bytes_text if event.unit == "B" else "{:g}".format
    of = f" of {amount(event.total)}" if event.total else ""
    share = f"  {100 * event.done / event.total:.0f} %" if event.total else ""
    return f"{event.label or 'working'}  {amount(event.done)}{of}{share}"
