"""A discrete-event simulation of the engine's scheduling: real decisions, foreseen step times."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.scheduling.batcher import SWAPS_PER_STEP, Placement, place, share_budget
from lingos_kernel.scheduling.policy import Policy
from lingos_kernel.scheduling.step_budget import StepBudget
from lingos_kernel.scheduling.waiting import WaitingQueue
from lingos_kernel.simulation.pages import PageBook, fits
from lingos_kernel.simulation.request import SimRequest, SimSequence
from lingos_kernel.simulation.step_time import StepTime


@dataclass(frozen=True, slots=True)
class Machine:
    """What the simulated engine has."""

    step_time: StepTime
    pages: int
    max_running: int = 64
    max_batch_tokens: int = 512
    pace: float = 3.0
    """As of `StepBudget`; 0: prefill takes what the batch has."""


UNHURRIED = 1e9
"""A pace that holds no prefill back."""

Observer = Callable[["Simulator", list[tuple[SimSequence, int]]], None]
"""Is told after each step who computed how many tokens for the first time."""


class Simulator:
    """Plays requests against a policy; gives the same result each time.

    Invariant: a sequence that has come is in exactly one of the queue, `running` and `ended`.
    """

    def __init__(
        self,
        requests: Iterable[SimRequest],
        policy: Policy,
        machine: Machine,
        *,
        observe: Observer | None = None,
    ) -> None:
        """Raises `InvalidArguments` on a request that could never run."""
        self.now_s = 0.0
        self.steps = 0
        self.running: list[SimSequence] = []
        self.waiting: WaitingQueue[SimSequence] = WaitingQueue(policy)
        self.ended: dict[str, SimSequence] = {}
        self._policy = policy
        self._machine = machine
        self._pages = PageBook(machine.pages)
        self._observe = observe
        self._budget = StepBudget(
            max_tokens=machine.max_batch_tokens, pace=machine.pace or UNHURRIED
        )
        self._numbers = itertools.count()
        self._arrivals = 0
        self._coming: list[tuple[float, int, SimRequest]] = []
        self._following: dict[str, list[SimRequest]] = {}
        for request in requests:
            if not fits(SimSequence(request, 0, 0.0), machine.pages):
                raise InvalidArguments(
                    f"request {request.key} needs more than all {machine.pages} pages",
                    hint="simulate a machine with more pages, or shorter requests",
                )
            if request.follows is not None:
                self._following.setdefault(request.follows, []).append(request)
            else:
                self._expect(request, request.arrival_s)

    @property
    def has_work(self) -> bool:
        """Whether anything waits, runs or is still to come."""
        return bool(self.running or len(self.waiting) or self._coming)

    def run(self) -> list[SimSequence]:
        """Play to the end; the sequences in the order in which they ended."""
        while self.has_work:
            self.step()
        assert not self._following, f"what {sorted(self._following)} would be followed by"
        assert not self._pages.held_pages, "somebody still holds pages"
        return list(self.ended.values())

    def step(self) -> None:
        """Let come who is due, decide, compute, account."""
        if not self.running and not len(self.waiting):
            self.now_s = max(self.now_s, self._coming[0][0])
        self._let_come()
        self._settle()
        shares = share_budget(self.running, self._budget.allowance(self.running), self._policy)
        for sequence, _ in shares:
            self._pages.grow(sequence)
        self._spend_time(shares)
        fresh = [(sequence, sequence.advance(tokens)) for sequence, tokens in shares]
        for sequence, tokens in fresh:
            self._policy.on_served(sequence, tokens)
        for sequence, _ in shares:
            self._choose(sequence)
        self.steps += 1
        if self._observe:
            self._observe(self, fresh)

    def _let_come(self) -> None:
        while self._coming and self._coming[0][0] <= self.now_s:
            arrival_s, _, request = heapq.heappop(self._coming)
            self._arrivals += 1
            sequence = SimSequence(request, self._arrivals, arrival_s)
            self._policy.on_joined(sequence)
            self.waiting.add(sequence)

    def _settle(self) -> None:
        swaps_left = SWAPS_PER_STEP
        prefilling = [sequence for sequence in self.running if sequence.remaining > 1]
        while placement := self._place(prefilling, swaps_left):
            swaps_left -= len(placement.preempt)
            for sequence in placement.preempt:
                self._pages.close(sequence)
                sequence.preemptions += 1
                self.running.remove(sequence)
                self.waiting.add(sequence)
            for sequence in placement.admit:
                self.waiting.remove(sequence)
                self._pages.open(sequence)
                self.running.append(sequence)
            prefilling = placement.prefilling_after(prefilling)

    def _place(self, prefilling: list[SimSequence], swaps_left: int) -> Placement[SimSequence]:
        return place(
            self.running,
            self.waiting.after(prefilling),
            (),
            policy=self._policy,
            max_running=self._machine.max_running,
            available_pages=self._pages.available_pages,
            cost=lambda sequence: sequence.needed_pages,
            swaps_left=swaps_left,
        )

    def _spend_time(self, shares: list[tuple[SimSequence, int]]) -> None:
        rows = sum([tokens == 1 for _, tokens in shares])
        prefill_tokens = sum([tokens for _, tokens in shares if tokens > 1])
        kv_slots = sum([sequence.computed + tokens for sequence, tokens in shares])
        for sequence, _ in shares:
            if sequence.started_s is None:
                sequence.started_s = self.now_s
        step_s = self._machine.step_time.seconds(rows, prefill_tokens, kv_slots)
        self._budget.observe(rows, prefill_tokens, step_s)
        self.now_s += step_s

    def _choose(self, sequence: SimSequence) -> None:
        """The next token of a sequence whose known tokens are all computed, or its end."""
        if sequence.remaining:
            return
        if sequence.first_token_s is None:
            sequence.first_token_s = self.now_s
        sequence.length += 1
        if sequence.is_complete:
            self._end(sequence)

    def _end(self, sequence: SimSequence) -> None:
        sequence.end_s = self.now_s
        self._policy.on_left(sequence)
        self.running.remove(sequence)
        self._pages.close(sequence)
        assert sequence.key not in self.ended, f"{sequence.key} ended twice"
        self.ended[sequence.key] = sequence
        for request in self._following.pop(sequence.key, ()):
            self._expect(request, max(request.arrival_s, self.now_s))

    def _expect(self, request: SimRequest, arrival_s: float) -> None:
        heapq.heappush(self._coming, (arrival_s, next(self._numbers), request))
