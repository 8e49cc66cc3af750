"""All sequences of one causal model, one step at a time: decide, compute, account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from lingos_kernel.engine.batch import Part
from lingos_kernel.engine.intake import Intake
from lingos_kernel.engine.kv_tiers import KvTiers
from lingos_kernel.engine.messages import (
    Event,
    Failed,
    FinishReason,
    Generate,
    HoldPages,
    Outputs,
    PagesHeld,
    SamplingParams,
    SequenceOutput,
    TokenLogprob,
)
from lingos_kernel.engine.roster import Roster
from lingos_kernel.engine.runner import ModelRunner
from lingos_kernel.engine.sampler import Sampler, prompt_logprobs
from lingos_kernel.engine.sequence import Request, Sequence, namespace_of
from lingos_kernel.engine.step_index import in_order
from lingos_kernel.errors import InvalidArguments, LingOSError, to_wire
from lingos_kernel.memory.relief import Prices
from lingos_kernel.scheduling.step_budget import StepBudget

SCORED_TOKENS = 128
"""Most tokens that one step scores of a sequence's prompt: each has a row of logits."""
MEASURED_TOKENS = 32
"""Steps with fewer prompt tokens say little about how fast prompts are computed."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """What a step computed, for the statistics."""

    prompt_tokens: int = 0
    output_tokens: int = 0
    kv_slots: int = 0
    """Slots that attention read."""
    decode_rows: int = 0
    """Sequences that computed one token."""
    prefill_tokens: int = 0
    """Tokens of the others."""

    @property
    def is_decode(self) -> bool:
        """Nothing but one token for each sequence."""
        return not self.prefill_tokens


class Decoder:
    """Runs the requests of one causal model."""

    def __init__(
        self,
        runner: ModelRunner,
        roster: Roster,
        intake: Intake,
        *,
        budget: StepBudget,
        clock: Callable[[], float],
        tiers: KvTiers | None = None,
        prices: Prices | None = None,
    ) -> None:
        self.roster = roster
        self.tiers = tiers
        self.prices = prices or Prices()
        self.last_work = StepWork()
        self.cached_tokens_total = 0
        self._runner = runner
        self._intake = intake
        self._sampler = Sampler()
        self._budget = budget
        self._clock = clock
        self._outputs: list[SequenceOutput] = []
        self._failed: list[Failed] = []

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return bool(self.roster.running or self.roster.waiting)

    def step(self) -> list[Event]:
        """Advance: prefill and decode what one batch takes; the events that this gave."""
        started_s = self._clock()
        parts = self._decide()
        logits = self._runner.forward([part for _, part in parts])
        self._account(parts, logits)
        work = self.last_work
        step_s = self._clock() - started_s
        self._budget.observe(work.decode_rows, work.prefill_tokens, step_s)
        if work.prefill_tokens >= MEASURED_TOKENS:
            self.prices.prefill.add(work.prefill_tokens, step_s)
        return self._events()

    # Decide

    def _decide(self) -> list[tuple[Sequence, Part]]:
        """Who computes what; gives them their pages. Parts of one token come first."""
        self.roster.settle()
        shares = self.roster.share(self._budget)
        copies = [self.roster.make_writable(sequence) for sequence, _ in shares]
        self._runner.copy_pages([copy for copy in copies if copy])
        parts = [(sequence, self._part(sequence, tokens)) for sequence, tokens in shares]
        return in_order(parts)

    def _part(self, sequence: Sequence, tokens: int) -> Part:
        if sequence.started_s is None:
            sequence.started_s = self._clock()
            self.cached_tokens_total += sequence.cached_tokens
        if sequence.next_score is not None:
            tokens = min(tokens, sequence.logits_from(tokens) + SCORED_TOKENS)
        assert sequence.holding is not None
        start = sequence.computed
        return Part(
            token_ids=sequence.tokens[start : start + tokens],
            start=start,
            pages=sequence.holding.pages,
            logits_from=sequence.logits_from(tokens),
        )

    # Account

    def _account(self, parts: list[tuple[Sequence, Part]], logits: Tensor) -> None:
        """Book what was computed, choose tokens, emit, end what has ended."""
        ready: list[tuple[Sequence, int]] = []  # with the row of logits to choose from
        row = 0
        for sequence, part in parts:
            count = len(part.token_ids) - part.logits_from
            self._score(sequence, part, logits[row : row + count])
            row += count
            self.roster.book(sequence, len(part.token_ids))
            if not sequence.remaining:
                ready += [(member, row - 1) for member in self._complete(sequence)]
        self.last_work = StepWork(
            prompt_tokens=sum(_prompt_tokens(sequence, part) for sequence, part in parts),
            output_tokens=len(ready),
            kv_slots=sum(part.end for _, part in parts),
            decode_rows=sum(len(part.token_ids) == 1 for _, part in parts),
            prefill_tokens=sum(len(p.token_ids) for _, p in parts if len(p.token_ids) > 1),
        )
        self._choose(ready, logits)

    def _score(self, sequence: Sequence, part: Part, logits: Tensor) -> None:
        position = sequence.next_score
        if position is None or not len(logits):
            return
        targets = sequence.tokens[position : min(part.end + 1, sequence.prompt_tokens)]
        most_likely = sequence.request.params.prompt_logprobs or 0
        sequence.scored += prompt_logprobs(logits[: len(targets)], targets, most_likely)

    def _complete(self, sequence: Sequence) -> list[Sequence]:
        """All known tokens are computed: who samples from here, the unborn choices included."""
        sequence.state = "decode"
        request = sequence.request
        twins, request.unborn = request.unborn, []
        members = [sequence] + [twin for twin in twins if self.roster.branch(sequence, twin)]
        if request.limit:
            return members
        for member in members:
            self._finish(member, "length")
        return []

    def _choose(self, ready: list[tuple[Sequence, int]], logits: Tensor) -> None:
        if not ready:
            return
        rows = [row for _, row in ready]
        if rows != list(range(len(logits))):
            logits = logits[rows]
        chosen = self._sampler.sample(logits, [sequence.row for sequence, _ in ready])
        for (sequence, _), token in zip(ready, chosen, strict=True):
            if sequence.request.id not in self.roster.requests:
                continue  # another choice of it failed a moment ago
            try:
                self._take(sequence, token)
            except LingOSError as error:
                self._fail(sequence.request, error)

    def _take(self, sequence: Sequence, token: TokenLogprob) -> None:
        if sequence.first_token_s is None:
            sequence.first_token_s = self._clock()
        wants_logprob = sequence.request.params.logprobs is not None
        text, reason = sequence.append(token.token_id)
        logprobs = (token,) if wants_logprob else ()
        if reason:
            self._finish(sequence, reason, (token.token_id,), text, logprobs)
        else:
            self._emit(sequence, (token.token_id,), text, logprobs)

    def _emit(
        self,
        sequence: Sequence,
        token_ids: tuple[int, ...] = (),
        text: str = "",
        logprobs: tuple[TokenLogprob, ...] = (),
        reason: FinishReason | None = None,
    ) -> None:
        self._outputs.append(
            SequenceOutput(
                request_id=sequence.request.id,
                choice=sequence.choice,
                token_ids=token_ids,
                text=text,
                logprobs=logprobs,
                prompt_logprobs=sequence.take_scores(),
                finish_reason=reason,
                usage=sequence.usage(self._clock()) if reason else None,
            )
        )

    def _finish(
        self,
        sequence: Sequence,
        reason: FinishReason,
        token_ids: tuple[int, ...] = (),
        text: str = "",
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> None:
        self._emit(sequence, token_ids, text, logprobs, reason)
        self.roster.end(sequence)

    def _fail(self, request: Request, error: LingOSError) -> None:
        self.roster.remove(request)
        self._failed.append(Failed(request_id=request.id, error=to_wire(error)))

    def _events(self) -> list[Event]:
        outputs, self._outputs = self._outputs, []
        failed, self._failed = self._failed, []
        gone = {failure.request_id for failure in failed}
        kept = tuple(output for output in outputs if output.request_id not in gone)
        return [*([Outputs(outputs=kept)] if kept else []), *failed]

    # Commands

    def generate(self, command: Generate) -> list[Event]:
        """Take in a request; raises a `LingOSError` when it cannot be served."""
        if command.request_id in self.roster.requests:
            raise InvalidArguments(f"the request id {command.request_id} is in use")
        request = self._intake.request(command, self._clock())
        known = list(command.output_ids) + [()] * (command.params.n - len(command.output_ids))
        choices = [
            self._intake.sequence(request, choice, outputs) for choice, outputs in enumerate(known)
        ]
        # Choices that have begun stand at different places; fresh ones begin where choice 0
        # ends its prompt.
        if not command.output_ids:
            choices, request.unborn = choices[:1], choices[1:]
        # From here on it is taken in: the hold of a refused request would never end.
        request.place = self.roster.holds.claim(command.hold_id, command.tenant) or request.place
        self.roster.add(request, choices)
        if command.is_paused:
            self.roster.pause(request)
        for sequence in choices:
            reason = self._intake.known_end(sequence)
            if reason:
                self._finish(sequence, reason)
        return self._events()

    def fork(self, parent: Request, request_id: str, params: SamplingParams | None) -> list[Event]:
        """Branch choice 0 of a request; an empty output says at once that the branch is there.

        Raises `InvalidArguments` when choice 0 has ended or the id is in use.
        """
        if request_id in self.roster.requests:
            raise InvalidArguments(f"the request id {request_id} is in use")
        origin = next((s for s in parent.sequences if s.choice == 0), None)
        if origin is None:
            raise InvalidArguments(
                f"choice 0 of {parent.id} has ended", hint="fork it while it is running"
            )
        request, children = self._intake.branch(origin, request_id, params, self._clock())
        self.roster.requests[request.id] = request
        for child in children:
            self.roster.branch(origin, child)
            self._emit(child)
            if reason := self._intake.known_end(child):  # by limits of its own
                self._finish(child, reason)
        return self._events()

    def hold(self, command: HoldPages) -> list[Event]:
        """Keep what is cached of a prefix for a while; says how many pages that are."""
        pages = self.roster.holds.keep(command, namespace_of(command))
        return [PagesHeld(command.hold_id, pages)]

    def relieve(self, error: LingOSError) -> list[Event]:
        """A step did not fit: preempt the least urgent sequence, or fail the only one."""
        running = self.roster.running
        if len(running) > 1:
            # Else the one that gives way would be admitted again, into the same step.
            self.roster.admission.on_overflow(len(running))
            self.roster.preempt(self.roster.victim())
        elif running:
            self._fail(running[0].request, error)
        return self._events()

    def cancel(self, request: Request) -> None:
        """Drop a request; its pages are free or cached at once, and no output follows."""
        self.roster.remove(request)


def _prompt_tokens(sequence: Sequence, part: Part) -> int:
    return max(min(part.end, sequence.prompt_tokens) - part.start, 0)
