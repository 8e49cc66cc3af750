"""What a run shows, as a notebook's messages: few while it streams, whole when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, Protocol
from uuid import uuid4

from lingos_kernel.telemetry.snapshot import Snapshot
from lingos_shell.jupyter.answers import Answer, Answers, AnswerValue
from lingos_shell.language.sink import (
    AnswerEnd,
    AnswerText,
    HostOutput,
    Narration,
    Progressed,
    ShellEvent,
    Shown,
    ToolCalled,
    ToolReturned,
)
from lingos_shell.language.values import as_table, text_of

UPDATES_PER_S = 12
"""Of a text that streams. Each sends the text so far: per token it would be quadratic."""
MIME_KEY = "lingos"
"""Where run details are in an output's metadata."""
SAID = ("text", "message", "choices", "tool_calls")
"""Parts of a result that are what was said, not how the run went."""
PLAIN = frozenset({"help"})
"""Words whose text is laid out in columns."""
STOPPED = "\n\n*(stopped)*"


class Publisher(Protocol):
    """Sends what a cell shows to the notebook."""

    def show(
        self,
        bundle: Mapping[str, Any],
        metadata: Mapping[str, Any],
        display_id: str,
        *,
        is_update: bool,
    ) -> None:
        """Show a MIME bundle, or exchange the one that was shown under the id."""

    def show_top(self, snapshot: Snapshot) -> None:
        """Show the live view of the scheduler, beginning with the snapshot."""

    def print(self, text: str) -> None:
        """Write to the cell's standard output."""


class CellOutput:
    """The outputs of one run. Belongs to the thread of its cell.

    `streams` false shows nothing before it is whole.
    """

    def __init__(
        self,
        publisher: Publisher,
        clock: Callable[[], float],
        *,
        streams: bool = True,
        answers: Answers | None = None,
    ) -> None:
        """`answers` keeps what is said."""
        self._publisher = publisher
        self._clock = clock
        self._streams = streams
        self._answers = answers or Answers()
        self._answer: Answer | None = None
        self._progress = ""
        """The display id of the progress line; empty when none is shown."""

    def show(self, event: ShellEvent) -> None:
        """Take in one event; `Failed` is nothing to show: the cell raises its error."""
        match event:
            case AnswerText():
                self._text(event.text)
            case ToolCalled():
                self._text(f"\n\n`{event.name}` {_arguments(event.arguments)} …")
            case ToolReturned():
                self._text(f" {_outcome(event)}\n\n")
            case AnswerEnd():
                self._end_answer(_details(event.result))
            case Shown(Snapshot() as snapshot):
                self._publisher.show_top(snapshot)
            case Shown():
                self._show_value(event)
            case Narration():
                self._publisher.print(f"{event.text}\n")
            case HostOutput():
                self._publisher.print(event.text)
            case Progressed():
                self._show_progress(event)

    @property
    def due_s(self) -> float | None:
        """Seconds until `refresh` has something to send; None when there is nothing."""
        if self._answer is None or not self._streams or not self._answer.is_stale:
            return None
        return max(0.0, self._answer.sent_s + 1 / UPDATES_PER_S - self._clock())

    def refresh(self) -> None:
        """Send what has come since the last time, if that is due."""
        if self.due_s == 0:
            self._send({})

    def close(self, *, was_stopped: bool = False) -> None:
        """The run has ended; an answer that was stopped stays, and says so."""
        self._hide_progress()
        if self._answer is not None and was_stopped:
            self._answer.text += STOPPED
            self._end_answer({"interrupted": True})
        self._end_answer({})

    def _text(self, text: str) -> None:
        self._hide_progress()
        if self._answer is None:
            self._answer = self._answers.begin()
        self._answer.text += text
        self._answer.is_stale = True
        self.refresh()

    def _end_answer(self, details: dict[str, Any]) -> None:
        if self._answer is None:
            return
        if self._answer.is_stale or details or not self._streams:
            self._send(details)
        self._answer = None

    def _send(self, details: dict[str, Any]) -> None:
        answer = self._answer
        assert answer is not None
        answer.details = details
        self._publish_answer(answer, is_update=answer.is_open)
        answer.is_open, answer.is_stale, answer.sent_s = True, False, self._clock()

    def _show_value(self, event: Shown) -> None:
        self._end_answer({})
        if isinstance(event.value, AnswerValue):  # while that goes on, it grows here as well
            self._publish_answer(event.value.answer, is_update=False)
            return
        details = {"source": event.source, **_run_details(event.value)}
        bundle = bundle_of(event.value, is_prose=event.source not in PLAIN)
        self._publish(bundle, {MIME_KEY: details})

    def _publish_answer(self, answer: Answer, *, is_update: bool) -> None:
        bundle = {"text/markdown": answer.text, "text/plain": answer.text}
        metadata = {MIME_KEY: answer.details} if answer.details else {}
        self._publisher.show(bundle, metadata, answer.display_id, is_update=is_update)

    def _publish(self, bundle: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        self._hide_progress()
        self._publisher.show(bundle, metadata, uuid4().hex, is_update=False)

    def _show_progress(self, event: Progressed) -> None:
        if not self._streams:
            return
        is_update, self._progress = bool(self._progress), self._progress or uuid4().hex
        done = f"{event.done / event.total:.0%}" if event.total else f"{event.done:g} {event.unit}"
        text = f"{event.label} {done}"
        self._publisher.show({"text/plain": text}, {}, self._progress, is_update=is_update)

    def _hide_progress(self) -> None:
        if self._progress:
            self._publisher.show({"text/plain": ""}, {}, self._progress, is_update=True)
            self._progress = ""


def bundle_of(value: Any, *, is_prose: bool = True) -> dict[str, Any]:
    """A value as MIME types: lists of objects as tables, prose as Markdown, all as plain text."""
    if (table := as_table(value)) is not None:
        columns, rows = table
        return {"text/html": _html_table(columns, rows), "text/plain": _plain_table(columns, rows)}
    plain = text_of(value)
    if is_prose and (isinstance(value, str) or (isinstance(value, Mapping) and "text" in value)):
        return {"text/markdown": plain, "text/plain": plain}
    if isinstance(value, Mapping | list):
        return {"application/json": value, "text/plain": plain}
    return {"text/plain": plain}


def _html_table(columns: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _plain_table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={text_of(value)!r}" for name, value in arguments.items())


def _outcome(event: ToolReturned) -> str:
    if event.error is not None:
        return f"failed: {event.error.get('message', event.error)}"
    text = " ".join(text_of(event.value).split())
    return f"→ {text[:200]}{'…' if len(text) > 200 else ''}"


def _run_details(value: Any) -> dict[str, Any]:
    """The details of a model's run; empty for values of other calls."""
    return _details(value) if isinstance(value, Mapping) and "usage" in value else {}


def _details(result: Any) -> dict[str, Any]:
    """The parts of a result that are about the run, not what it said."""
    if not isinstance(result, Mapping):
        return {}
    return {key: value for key, value in result.items() if key not in SAID}
