"""Output for pipes, files and dumb terminals: data on stdout, narration on stderr, no colours."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from lingos_kernel.errors import ConfirmationRequired
from lingos_kernel.syscalls.events import Progress
from lingos_shell.failures import Ending, report
from lingos_shell.generation import warn_if_cut
from lingos_shell.language.sink import (
    AnswerEnd,
    AnswerText,
    Failed,
    HostOutput,
    Narration,
    Progressed,
    ShellEvent,
    Shown,
    ToolCalled,
    ToolReturned,
)
from lingos_shell.language.values import as_table, text_of
from lingos_shell.output import is_terminal, narrate, write, write_json_line, write_line
from lingos_shell.progress import ProgressBars

TABLE_WIDTH = 10_000
"""Piped tables are cut nowhere."""


class PlainSink:
    """Writes what a run shows. With `as_json`, each result is one line of JSON instead."""

    def __init__(self, *, as_json: bool = False, is_sure: bool = False) -> None:
        """`is_sure`: the person has said yes to everything beforehand."""
        self._as_json = as_json
        self._is_sure = is_sure
        self._at_line_start = True
        self._bars = ProgressBars()

    async def show(self, event: ShellEvent) -> None:
        """Write one event."""
        if not isinstance(event, Progressed):
            self._bars.hide()
        match event:
            case AnswerText(text) | HostOutput(text):
                if not self._as_json:
                    write(text)
                    self._at_line_start = text.endswith("\n")
            case AnswerEnd(result):
                self._end_line()
                if self._as_json:
                    write_json_line(result)
                elif isinstance(result, Mapping):
                    warn_if_cut(result)
            case Shown(value):
                self._end_line()
                write_json_line(value) if self._as_json else self._value(value)
            case Progressed(done, total, unit, label):
                self._bars.show(Progress(done, total, unit, label))
            case Failed(error):
                self._end_line()
                report(Ending(error.exit_code, error), as_json=self._as_json)
            case _:
                self._end_line()
                narrate(told(event))

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask at the terminal. Raises `ConfirmationRequired` when nobody is there to ask."""
        if self._is_sure:
            return True
        if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise ConfirmationRequired(f"{name} wants a person's yes", hint="add --yes to give it")
        import click

        narrate(f"{name} {json.dumps(arguments, ensure_ascii=False)}")
        return click.confirm("Do it?", err=True)

    def finish(self) -> None:
        """End the last line."""
        self._bars.hide()
        self._end_line()

    def _value(self, value: Any) -> None:
        table = as_table(value)
        if table is None:
            write_line(text_of(value).rstrip("\n"))
            return
        from lingos_shell.repl.table import table_lines

        write("".join(f"{line}\n" for line in table_lines(*table, width=TABLE_WIDTH)))

    def _end_line(self) -> None:
        if not self._at_line_start:
            write("\n")
            self._at_line_start = True


def told(event: ShellEvent) -> str:
    """A line about something that happened on the way."""
    match event:
        case Narration(text):
            return text
        case ToolCalled(name, arguments):
            return f"[{name}({json.dumps(arguments, ensure_ascii=False)[1:-1]})]"
        case ToolReturned(name, _, None):
            return f"[{name} is done]"
        case ToolReturned(name, _, error):
            message = error.get("message", "") if error else ""
            return f"[{name} failed: {message}]"
    raise ValueError(f"{event} is not told in a line")
