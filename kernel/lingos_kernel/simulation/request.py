"""A request as the simulator sees it, and its life as a sequence."""

from __future__ import annotations

from dataclasses import dataclass

from lingos_kernel.memory.pages import PAGE_SLOTS, pages_for


@dataclass(frozen=True, slots=True)
class SimRequest:
    """What comes when, and how long its answer will be."""

    key: str
    arrival_s: float
    prompt_tokens: int
    output_tokens: int
    tenant: str = ""
    program: str = ""
    priority: int = 0
    deadline_s: float | None = None
    """On the same clock as its arrival."""
    follows: str | None = None
    """A request that must have ended before this one comes: the turn before it."""
    shared_tokens: int = 0
    """Tokens at its beginning that the one it follows has computed already."""


class SimSequence:
    """A request among those that wait or run: what the scheduler reads, and what it computed."""

    __slots__ = (
        *("arrival_s", "computed", "deadline_s", "end_s", "first_token_s", "held_pages", "key"),
        *("length", "order", "preemptions", "priority", "program", "reached", "request"),
        *("served_tokens", "started_s", "tenant"),
    )

    def __init__(self, request: SimRequest, order: int, arrival_s: float) -> None:
        """`arrival_s` is when it really comes: not before the one that it follows has ended."""
        self.request = request
        self.key = request.key
        self.priority = request.priority
        self.deadline_s = request.deadline_s
        self.program = request.program
        self.tenant = request.tenant
        self.arrival_s = arrival_s
        self.order = order
        self.length = request.prompt_tokens
        """Tokens known: the prompt and the output so far."""
        self.computed = 0
        self.reached = 0
        """The most that `computed` ever was."""
        self.held_pages = 0
        self.served_tokens = 0
        self.preemptions = 0
        self.started_s: float | None = None
        self.first_token_s: float | None = None
        self.end_s: float | None = None

    @property
    def remaining(self) -> int:
        """Known tokens that are not computed yet."""
        return self.length - self.computed

    @property
    def wanted_pages(self) -> int:
        """Pages it lacks for its next token: 0 or 1."""
        return int(self.computed >= self.held_pages * PAGE_SLOTS)

    @property
    def needed_pages(self) -> int:
        """Pages for all its known tokens."""
        return pages_for(self.length)

    @property
    def is_complete(self) -> bool:
        """Whether it has all its output."""
        return self.length >= self.request.prompt_tokens + self.request.output_tokens

    def advance(self, tokens: int) -> int:
        """Take in that its next tokens are computed; how many of them for the first time."""
        fresh = max(self.computed + tokens - max(self.computed, self.reached), 0)
        self.computed += tokens
        self.served_tokens += fresh
        self.reached = max(self.reached, self.computed)
        return fresh
