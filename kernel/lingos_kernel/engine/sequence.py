"""One stream of tokens in the engine, and the request that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lingos_kernel.engine.detokenizer import Detokenizer
from lingos_kernel.engine.messages import (
    FinishReason,
    Generate,
    HoldPages,
    SamplingParams,
    TokenLogprob,
    Usage,
)
from lingos_kernel.engine.sampling_row import SamplingRow
from lingos_kernel.memory.ledger import Holding
from lingos_kernel.memory.pages import PAGE_SLOTS, pages_for
from lingos_kernel.scheduling.holds import Place

State = Literal["waiting", "prefill", "decode", "paused", "preempted"]


@dataclass(slots=True, eq=False)
class Request:
    """What its choices have in common."""

    command: Generate
    arrival_s: float
    place: Place
    """In line; the turn after a short tool call has that of the turn before it."""
    priority: int
    limit: int
    """Output tokens of a choice, clamped to the context."""
    sequences: list[Sequence] = field(default_factory=list)
    """Those that have not ended."""
    unborn: list[Sequence] = field(default_factory=list)
    """Choices that begin where choice 0 ends its prompt; not among `sequences` yet."""
    is_paused: bool = False

    @property
    def id(self) -> str:
        """The id that the kernel gave it."""
        return self.command.request_id

    @property
    def params(self) -> SamplingParams:
        """How its tokens are chosen."""
        return self.command.params

    @property
    def deadline_s(self) -> float | None:
        """On the engine's clock."""
        after = self.command.deadline_s
        return None if after is None else self.arrival_s + after


def namespace_of(command: Generate | HoldPages) -> str:
    """Whose prefix pages it shares: its tenant's, or those of several that agreed to it."""
    return f"share:{command.share}" if command.share else f"tenant:{command.tenant}"


class Sequence:
    """Tokens known, tokens computed, and the pages that hold their keys and values.

    Invariants: computed <= len(tokens); outside of a step, computed < len(tokens), because the
    newest token is known but not computed; without a `holding` computed is 0, and it is neither
    running nor among the paused or waiting ones that kept their pages.
    """

    __slots__ = (
        "arrival_s",
        "cached_tokens",
        "choice",
        "computed",
        "deadline_s",
        "detokenizer",
        "first_token_s",
        "holding",
        "inherited",
        "key",
        "order",
        "outputs",
        "preemptions",
        "priority",
        "program",
        "prompt_tokens",
        "reached",
        "request",
        "row",
        "running_s",
        "scored",
        "scores_sent",
        "served_tokens",
        "since_s",
        "started_s",
        "state",
        "tenant",
        "tokens",
    )

    def __init__(
        self, request: Request, choice: int, row: SamplingRow, detokenizer: Detokenizer
    ) -> None:
        self.request = request
        self.choice = choice
        self.row = row
        self.detokenizer = detokenizer
        self.outputs: list[int] = list(row.output_ids)
        row.output_ids = self.outputs
        self.tokens: list[int] = [*request.command.prompt_ids, *self.outputs]
        self.prompt_tokens = len(request.command.prompt_ids)
        self.inherited = 0
        """Output tokens that another request paid for (the parent of a fork)."""
        self.computed = 0
        self.holding: Holding | None = None
        self.state: State = "waiting"
        self.scored: list[TokenLogprob] = []
        """Log-probabilities of prompt tokens so far."""
        self.scores_sent = False
        self.cached_tokens = 0
        self.served_tokens = 0
        """Computed tokens; those that had to be computed again count once."""
        self.reached = 0
        """The most that `computed` ever was."""
        self.preemptions = 0
        self.started_s: float | None = None
        self.first_token_s: float | None = None
        self.since_s = 0.0
        """When it last began to run."""
        self.running_s = 0.0
        """Time among the running ones, before `since_s`."""
        self.key = f"{request.id}/{choice}"
        """Unique name."""
        self.program = request.command.program
        """The agent or session it belongs to."""
        self.tenant = request.command.tenant
        """On whose account it runs."""
        self.deadline_s = request.deadline_s
        """That of its request."""
        self.stand()

    # What the scheduler reads (scheduling.batcher.Schedulable): much of it hundreds of times a
    # step, so that it is kept at hand.

    def stand(self) -> None:
        """Take over where its request stands, when it joins and whenever that has changed."""
        request = self.request
        self.priority = request.priority
        self.arrival_s = request.place.arrival_s
        """Of its request, or of the first turn of those that it follows on."""
        self.order = request.place.order
        """Number of its request, or of the first turn, in order of arrival."""

    @property
    def namespace(self) -> str:
        """Of its prefix pages: its tenant's own, or one that several agreed to share."""
        return namespace_of(self.request.command)

    @property
    def remaining(self) -> int:
        """Known tokens that are not computed yet."""
        return len(self.tokens) - self.computed

    @property
    def held_pages(self) -> int:
        """Pages that it holds."""
        return len(self.holding.pages) if self.holding else 0

    @property
    def wanted_pages(self) -> int:
        """Pages it lacks for its next token: 0 or 1."""
        holding = self.holding
        assert holding is not None
        return int(holding.is_tail_shared or self.computed >= len(holding.pages) * PAGE_SLOTS)

    @property
    def needed_pages(self) -> int:
        """Pages for all its known tokens, beside those it kept."""
        return pages_for(len(self.tokens)) - self.held_pages

    # Prompt scores

    @property
    def next_score(self) -> int | None:
        """The prompt position to be scored next; None when all are, or none are wanted."""
        params = self.request.params
        if params.prompt_logprobs is None or self.choice:
            return None
        position = max(params.prompt_logprobs_from, 1) + len(self.scored)
        return position if position < self.prompt_tokens else None

    @property
    def matchable(self) -> list[int]:
        """Tokens to look up in the prefix tree, which leaves the last of them to be computed."""
        position = self.next_score
        return self.tokens if position is None else self.tokens[:position]

    def logits_from(self, count: int) -> int:
        """Of the next `count` tokens to compute, the first that needs logits; `count`: none."""
        position = self.next_score
        if position is not None:
            return min(max(position - 1 - self.computed, 0), count)
        samples = count == self.remaining and self.wants_token
        return count - 1 if samples else count

    def take_scores(self) -> tuple[TokenLogprob, ...]:
        """All scores of the prompt, once they are complete; nothing the next time."""
        if self.scores_sent or not self.scored or self.next_score is not None:
            return ()
        self.scores_sent = True
        return tuple(self.scored)

    # Progress

    def advance(self, tokens: int) -> int:
        """Take in that its next tokens are computed; how many of them for the first time."""
        start = max(self.computed, self.reached)
        self.computed += tokens
        fresh = max(self.computed - start, 0)
        self.served_tokens += fresh
        self.reached = max(self.reached, self.computed)
        return fresh

    @property
    def wants_token(self) -> bool:
        """Whether its tokens are to be continued once they are computed."""
        return len(self.outputs) < self.request.limit

    def append(self, token_id: int) -> tuple[str, FinishReason | None]:
        """Take a chosen token; the text that became safe to emit, and why it ended, if it did."""
        params = self.request.params
        self.tokens.append(token_id)
        self.outputs.append(token_id)
        matcher = self.row.matcher
        if matcher is not None:
            matcher.accept(token_id)
        if token_id in params.stop_token_ids or token_id in self.row.eos_ids:
            return self.detokenizer.finish(), "stop"
        text, is_stopped = self.detokenizer.push(token_id)
        if is_stopped:
            return text, "stop"
        if matcher is not None and matcher.is_finished:
            return text + self.detokenizer.finish(), "stop"
        if not self.wants_token:
            return text + self.detokenizer.finish(), "length"
        return text, None

    def usage(self, now_s: float) -> Usage:
        """What it cost until now."""
        arrival_s = self.request.arrival_s
        return Usage(
            prompt_tokens=self.prompt_tokens,
            output_tokens=len(self.outputs) - self.inherited,
            cached_tokens=self.cached_tokens,
            queue_s=(self.started_s if self.started_s is not None else now_s) - arrival_s,
            first_token_s=None if self.first_token_s is None else self.first_token_s - arrival_s,
            total_s=now_s - arrival_s,
            preemptions=self.preemptions,
        )
