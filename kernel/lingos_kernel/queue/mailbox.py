"""Mailboxes of processes: send, receive, reply, and request with a time limit.

A letter that asks for a reply carries a correlation id. Its reply goes straight to the waiting
`request`, or, for `send(..., wants_reply=True)`, into the asker's mailbox. Use from one event loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lingos_kernel.errors import (
    CallTimeout,
    Cancelled,
    InvalidArguments,
    NotPermitted,
    QueueFull,
    UnknownName,
    UnknownProcess,
)
from lingos_kernel.queue.bounded import BoundedQueue, Message
from lingos_kernel.queue.rows import QueueState


@dataclass(frozen=True, slots=True)
class Letter:
    """What one process sends to another; `body` is JSON-able."""

    sender: int
    to: int
    body: Any
    sent_s: float
    correlation_id: str = ""
    """Set when a reply is wanted, and on the reply."""
    is_reply: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class _Question:
    """A reply that is still owed; `answer` is None when it goes into the asker's mailbox."""

    asker: int
    asked: int
    answer: asyncio.Future[Letter] | None


class Mailboxes:
    """One bounded mailbox for each open process; one sender may fill three quarters of it."""

    def __init__(
        self,
        bound: int = 1024,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_expired: Callable[[Letter], None] | None = None,
    ) -> None:
        """`bound`: letters in a mailbox, and replies that a process may still be owed."""
        self._bound = bound
        self._clock = clock
        self._on_expired = on_expired
        self._boxes: dict[int, BoundedQueue[Letter]] = {}
        self._questions: dict[str, _Question] = {}

    def open(self, pid: int) -> None:
        """Give the process a mailbox, unless it has one."""
        if pid not in self._boxes:
            self._boxes[pid] = BoundedQueue(
                f"mailbox:{pid}",
                self._bound,
                tenant_bound=self._bound - self._bound // 4,
                tenant_word="process",
                clock=self._clock,
                on_expired=self._expired,
            )

    def close(self, pid: int) -> list[Letter]:
        """The process is gone: its waits end in Cancelled, requests to it in UnknownProcess.

        Returns the letters that it never read.
        """
        box = self._boxes.pop(pid, None)
        unread = [] if box is None else [message.body for message in box.close()]
        for correlation_id, question in list(self._questions.items()):
            if pid in (question.asker, question.asked):
                del self._questions[correlation_id]
                self._end_question(question, pid)
        return unread

    async def send(
        self,
        to: int,
        body: Any,
        *,
        sender: int,
        priority: int = 0,
        ttl_s: float | None = None,
        timeout_s: float | None = None,
        wants_reply: bool = False,
    ) -> str:
        """Put a letter into a mailbox, waiting for room; returns its correlation id, if any.

        Raises QueueFull when there is no room within `timeout_s`, UnknownProcess.
        """
        correlation_id = self._ask(sender, to, None) if wants_reply else ""
        letter = Letter(sender, to, body, self._clock(), correlation_id, False, priority)
        try:
            await self._post(letter, ttl_s, timeout_s)
        except BaseException:
            self._questions.pop(correlation_id, None)
            raise
        return correlation_id

    async def recv(self, pid: int, *, timeout_s: float | None = None) -> Letter:
        """The process's next letter, by priority, then arrival.

        Raises CallTimeout, UnknownProcess, and Cancelled when the process ends meanwhile.
        """
        return (await self._box(pid).take_async(timeout_s)).body

    async def request(
        self,
        to: int,
        body: Any,
        *,
        sender: int,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Letter:
        """Send a letter and wait for its reply, both within `timeout_s`.

        The letter expires unread with the time limit. Raises CallTimeout, QueueFull, Cancelled,
        and UnknownProcess when the other process ends without a reply.
        """
        if to == sender:
            raise InvalidArguments(f"pid {sender} cannot wait for its own reply")
        answer: asyncio.Future[Letter] = asyncio.get_running_loop().create_future()
        correlation_id = self._ask(sender, to, answer)
        letter = Letter(sender, to, body, self._clock(), correlation_id, False, priority)
        try:
            async with asyncio.timeout(timeout_s):
                await self._post(letter, timeout_s, None)
                return await answer
        except TimeoutError:
            raise CallTimeout(
                f"pid {to} did not reply to pid {sender} within {timeout_s:g} s",
                hint="give it more time, or see what it does with ps",
            ) from None
        finally:
            self._questions.pop(correlation_id, None)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen here, even when another error was faster

    async def reply(
        self, correlation_id: str, body: Any, *, sender: int, timeout_s: float | None = None
    ) -> None:
        """Answer the letter with this correlation id, once.

        Raises UnknownName when nobody waits for it (any more), NotPermitted when another process
        was asked, QueueFull when it goes into a mailbox that has no room.
        """
        question = self._questions.get(correlation_id)
        if question is None:
            raise UnknownName(
                f"nobody waits for a reply to {correlation_id!r}",
                hint="it was answered, or the asker gave up",
            )
        if question.asked != sender:
            raise NotPermitted(f"pid {question.asked} was asked, not pid {sender}")
        letter = Letter(sender, question.asker, body, self._clock(), correlation_id, True)
        del self._questions[correlation_id]
        if question.answer is None:
            try:
                await self._post(letter, None, timeout_s)
            except BaseException:  # not delivered: the reply is still owed
                if question.asker in self._boxes:
                    self._questions[correlation_id] = question
                raise
        elif not question.answer.done():
            question.answer.set_result(letter)

    def rows(self, shows: Callable[[int], bool] = lambda _: True) -> tuple[QueueState, ...]:
        """The mailboxes of the processes that `shows` says, by pid."""
        return tuple(self._boxes[pid].row() for pid in sorted(self._boxes) if shows(pid))

    @property
    def owed(self) -> int:
        """Replies that somebody still waits for."""
        return len(self._questions)

    def _box(self, pid: int) -> BoundedQueue[Letter]:
        try:
            return self._boxes[pid]
        except KeyError:
            raise UnknownProcess(f"no process {pid} has a mailbox") from None

    async def _post(self, letter: Letter, ttl_s: float | None, timeout_s: float | None) -> None:
        try:
            await self._box(letter.to).put_async(
                letter,
                priority=letter.priority,
                tenant=str(letter.sender),
                ttl_s=ttl_s,
                timeout_s=timeout_s,
            )
        except Cancelled:
            raise UnknownProcess(f"pid {letter.to} ended before it had room") from None

    def _ask(self, asker: int, asked: int, answer: asyncio.Future[Letter] | None) -> str:
        """Note that a reply is owed."""
        self._box(asked)
        if answer is None:
            self._box(asker)
        owed = sum(question.asker == asker for question in self._questions.values())
        if owed >= self._bound:
            raise QueueFull(
                f"pid {asker} already waits for {owed} replies", retry_after_s=1.0, pid=asker
            )
        correlation_id = uuid.uuid4().hex[:16]
        self._questions[correlation_id] = _Question(asker, asked, answer)
        return correlation_id

    def _end_question(self, question: _Question, pid: int) -> None:
        if question.answer is None or question.answer.done():
            return
        if pid == question.asker:
            question.answer.set_exception(Cancelled(f"pid {pid} ended"))
        else:
            question.answer.set_exception(
                UnknownProcess(f"pid {pid} ended without a reply to pid {question.asker}")
            )

    def _expired(self, message: Message[Letter]) -> None:
        if self._on_expired is not None:
            self._on_expired(message.body)
