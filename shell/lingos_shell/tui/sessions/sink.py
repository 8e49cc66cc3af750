"""What a run tells, as entries of a transcript."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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
from lingos_shell.tui.sessions.answer import Answer, usage_text
from lingos_shell.tui.sessions.entries import HostText, Note, Value
from lingos_shell.tui.sessions.tools import Approvals, Decision, ToolBlock
from lingos_shell.tui.sessions.transcript import Transcript

CONFIRMATION = "confirmation_required"
OnQuestion = Callable[[int], None]
Confirmed = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
"""Makes a call that a person has said yes to."""


class TranscriptSink:
    """The sink of one run. Text is only taken in here; the transcript draws it when it can."""

    def __init__(
        self,
        transcript: Transcript,
        approvals: Approvals,
        *,
        on_question: OnQuestion,
        offer: Callable[[ToolBlock], None],
    ) -> None:
        """`on_question` hears of questions that open (1) and close (-1).

        `offer` gets calls of the model that want a person's yes; it must not wait for it.
        """
        self._transcript = transcript
        self._approvals = approvals
        self._on_question = on_question
        self._offer = offer
        self._answer: Answer | None = None
        self._host: HostText | None = None
        self._block: ToolBlock | None = None
        self.result: Mapping[str, Any] = {}
        """What the last answer ended in."""

    async def show(self, event: ShellEvent) -> None:
        """Take in one event."""
        match event:
            case AnswerText(text):
                (await self._open_answer()).push(text)
            case AnswerEnd(result):
                await self._end_answer(result)
            case HostOutput(text):
                (await self._open_host()).push(text)
            case Progressed():
                (await self._open_answer()).progress(progress_text(event))
            case ToolCalled(name, arguments):
                await self.close()
                self._block = ToolBlock(name, arguments)
                await self._transcript.add(self._block)
            case ToolReturned():
                await self._returned(event)
            case _:
                await self.close()
                entry = _entry_of(event)
                await self._transcript.add(entry)
                await entry.flush()

    async def begin(self) -> None:
        """An answer is asked for: say so until something comes."""
        await self._open_answer()

    async def approve(self, name: str, arguments: Mapping[str, Any]) -> bool:
        """Ask in place, unless that was decided for the whole session."""
        known = self._approvals.known(name)
        if known is not None:
            return known
        await self.close()
        block = ToolBlock(name, arguments)
        await self._transcript.add(block)
        decision = await self.asked(block)
        is_yes = self._approvals.take(name, decision)
        block.returned("yes" if is_yes else "no")
        return is_yes

    async def asked(self, block: ToolBlock) -> Decision:
        """What the person decides about a call."""
        self._on_question(1)
        try:
            arguments = json.dumps(block.arguments, ensure_ascii=False, default=str)
            return await block.ask(f"/{block.tool} {arguments[:400]}\nMay it be called?")
        finally:
            self._on_question(-1)

    async def close(self, note: str = "") -> None:
        """Nothing more comes for what is open; `note` says how it ended."""
        answer, self._answer = self._answer, None
        if answer is not None:
            await self._transcript.settle(answer)
            if answer.is_empty and not note:
                await answer.remove()
            else:
                await answer.finish(note=note)
        host, self._host = self._host, None
        if host is not None:
            await self._transcript.settle(host)

    async def _open_answer(self) -> Answer:
        if self._answer is None:
            await self.close()
            self._answer = Answer()
            await self._transcript.add(self._answer, is_live=True)
        return self._answer

    async def _open_host(self) -> HostText:
        if self._host is None:
            await self.close()
            self._host = HostText()
            await self._transcript.add(self._host, is_live=True)
        return self._host

    async def _end_answer(self, result: Any) -> None:
        if isinstance(result, Mapping):
            self.result = result
        answer, self._answer = self._answer, None
        if answer is None:
            await self.close()
            if not usage_text(self.result):
                return  # of something else than a model
            answer = Answer()
            await self._transcript.add(answer)
        await self._transcript.settle(answer)
        await answer.finish(result)

    async def _returned(self, event: ToolReturned) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        block.returned(event.value, event.error)
        if event.error is not None and event.error.get("code") == CONFIRMATION:
            self._offer(block)


def _entry_of(event: ShellEvent) -> Note | Value | Answer:
    match event:
        case Shown(str(text)):
            return Answer(text)
        case Shown(value, source):
            return Value(value, source)
        case Failed(error):
            return Note.of_error(error)
        case Narration(text):
            return Note(text)
    raise AssertionError(f"{event} is shown elsewhere")


def progress_text(event: Progressed) -> str:
    """How far a call is, in words."""
    label = event.label or "working"
    if event.total:
        return f"{label} {event.done / event.total:.0%} …"
    return f"{label} {event.done:g} {event.unit} …".replace("  ", " ")
