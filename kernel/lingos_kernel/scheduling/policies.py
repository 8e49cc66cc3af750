"""Policies that order work by what is known of it, and by turns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

from lingos_kernel.scheduling.policy import BasePolicy, Rank, Work


class Fifo(BasePolicy):
    """First come, first served, within a class."""

    name: ClassVar[str] = "fifo"

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:  # noqa: ARG002
        """By arrival."""
        return (work.priority, work.arrival_s, work.order)


class Priority(BasePolicy):
    """The more urgent class first; a class that gets nothing gains a level every `aging_s` seconds.

    Waiting counts from arrival, or from when work of the same class was last served: so one piece
    of starved work after the other earns its turn, and a long queue of them does not pass
    everybody at once. Work that had its turn keeps the place that it had earned. The latest
    arrival is clock enough, for without arrivals nobody is passed.
    """

    name: ClassVar[str] = "priority"

    def __init__(self, aging_s: float = 10.0) -> None:
        self._aging_s = aging_s
        self._now_s = -math.inf
        self._served_s: dict[int, float] = {}
        """When each class was last served."""
        self._turns: dict[Work, tuple[int, Rank]] = {}
        """Of those that had their turn: in which class, and the place that they have for it."""

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:  # noqa: ARG002
        """By priority, less what waiting has earned.

        Of equals those first that had their turn: when time goes on they stay ahead.
        """
        priority, turn = work.priority, self._turns.get(work)
        if turn is not None and turn[0] == priority:
            return turn[1]
        return (self._level(work), 1, work.arrival_s, work.order)

    def lane(self, work: Work) -> str:
        """One for each class."""
        return str(work.priority)

    def victim(self, running: Iterable[Work]) -> Work:
        """The one that would go last, whatever its class: what it has earned protects it."""
        return max(running, key=self.rank)

    def on_joined(self, work: Work) -> None:
        """Tells the time."""
        self._now_s = max(self._now_s, work.arrival_s)

    def on_served(self, work: Work, tokens: int) -> None:  # noqa: ARG002
        """Its class is not starving."""
        priority, turn = work.priority, self._turns.get(work)
        if turn is None or turn[0] != priority:
            self._turns[work] = priority, (self._level(work), 0, work.arrival_s, work.order)
        self._served_s[priority] = self._now_s

    def on_left(self, work: Work) -> None:
        """Its place is gone."""
        self._turns.pop(work, None)

    def _level(self, work: Work) -> float:
        """Its class, plus what those have earned before it that have waited for longer."""
        priority, arrival_s = work.priority, work.arrival_s
        since_s = max(self._served_s.get(priority, arrival_s), arrival_s)
        return priority + since_s / self._aging_s


class Deadline(BasePolicy):
    """Earliest deadline first; an earlier one that was asked for may take a place.

    Work without a deadline counts as due `slack_s` seconds after its arrival, so that it is
    passed only by a bounded amount of other work; for it alone nobody is put out.
    """

    name: ClassVar[str] = "deadline"

    def __init__(self, slack_s: float = 60.0) -> None:
        self._slack_s = slack_s

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:  # noqa: ARG002
        """By deadline."""
        due_s = work.deadline_s
        if due_s is None:
            due_s = work.arrival_s + self._slack_s
        return (work.priority, due_s, work.order)

    def may_give_way(self, running: Sequence[Work], waiting: Work) -> Sequence[Work]:
        """Less urgent classes; for work with a deadline all that are due later, too."""
        if waiting.deadline_s is not None:
            return running
        return super().may_give_way(running, waiting)


class RoundRobin(BasePolicy):
    """Turns of `quantum_tokens` output tokens: who has used up its turn goes to the line's end.

    Whoever waits then takes its place; while nobody does, it runs on. Computing the prompt does
    not count: a turn that only prepares would be wasted.
    """

    name: ClassVar[str] = "round-robin"

    def __init__(self, quantum_tokens: int = 256) -> None:
        self._quantum_tokens = quantum_tokens
        self._tickets: dict[Work, int] = {}
        self._used_tokens: dict[Work, int] = {}
        self._next_ticket = 1

    def rank(self, work: Work, ahead_tokens: int = 0) -> Rank:  # noqa: ARG002
        """By the place in the line; paused work, which has none, ranks before its class."""
        return (work.priority, self._tickets.get(work, 0))

    def may_give_way(self, running: Sequence[Work], waiting: Work) -> Sequence[Work]:  # noqa: ARG002
        """Whoever stands behind it in the line."""
        return running

    def on_joined(self, work: Work) -> None:
        """Goes to the end of the line."""
        self._begin_turn(work)

    def on_served(self, work: Work, tokens: int) -> None:
        """Counts towards its turn."""
        used_tokens = self._used_tokens[work] + (tokens == 1)
        if used_tokens < self._quantum_tokens:
            self._used_tokens[work] = used_tokens
        else:
            self._begin_turn(work)

    def on_left(self, work: Work) -> None:
        """Leaves the line."""
        del self._tickets[work], self._used_tokens[work]

    def _begin_turn(self, work: Work) -> None:
        self._tickets[work] = self._next_ticket
        self._used_tokens[work] = 0
        self._next_ticket += 1
