"""Answers of a notebook's cells, kept so that they can be shown again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from lingos_kernel.errors import UnknownName

MOST_ANSWERS = 50
"""That are kept; older ones are in the session's context alone."""


class Answer:
    """A text that grows under one display id, wherever that is shown.

    Written by the thread of its cell; others read it.
    """

    def __init__(self) -> None:
        self.display_id = uuid4().hex
        self.text = ""
        self.details: Mapping[str, Any] = {}
        """Of the run; empty until it has ended."""
        self.is_open = False
        """Whether it was shown."""
        self.is_stale = False
        """Whether it has grown since it was shown."""
        self.sent_s = float("-inf")


class AnswerValue(dict[str, Any]):
    """What an answer says so far, as a value: its text and the details of its run."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.details, text=answer.text)
        self.answer = answer


class Answers:
    """The last answers of a notebook, also those that nobody saw."""

    def __init__(self) -> None:
        self._kept: deque[Answer] = deque(maxlen=MOST_ANSWERS)

    def begin(self) -> Answer:
        """A new one."""
        answer = Answer()
        self._kept.append(answer)
        return answer

    def last(self, number: int = 1) -> AnswerValue:
        """The last one, or the one so many answers ago. Raises `UnknownName`."""
        if not 1 <= number <= len(self._kept):
            raise UnknownName(
                f"there is no answer {number}", hint=f"{len(self._kept)} are kept, 1 is the last"
            )
        return AnswerValue(self._kept[-number])
