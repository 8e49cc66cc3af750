"""Who waits, who runs, who is paused, and the pages they hold, for one causal model.

The only place where sequences change state and pages change hands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from lingos_kernel.engine.page_holds import PageHolds
from lingos_kernel.engine.sequence import Request, Sequence, State
from lingos_kernel.memory.admission import Admission
from lingos_kernel.memory.ledger import PageLedger
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.memory.relief import Relief, Shortage, choose_relief
from lingos_kernel.scheduling.batcher import SWAPS_PER_STEP, Placement, place, share_budget
from lingos_kernel.scheduling.holds import TENANT_SHARE
from lingos_kernel.scheduling.policy import Policy
from lingos_kernel.scheduling.shared_prefix import should_follow
from lingos_kernel.scheduling.step_budget import StepBudget
from lingos_kernel.scheduling.waiting import WaitingQueue


class Roster:
    """The requests of one model and their sequences.

    Invariant: a sequence is in exactly one of `waiting`, `running`, `paused`, or among its
    request's `unborn`; running ones hold the pages of all their known tokens but perhaps the
    newest, and so do paused and waiting ones that could keep theirs; other waiting ones hold none.
    """

    def __init__(
        self,
        ledger: PageLedger,
        policy: Policy,
        max_running: int,
        clock: Callable[[], float],
        *,
        tenant_hold_share: float = TENANT_SHARE,
    ) -> None:
        """`tenant_hold_share`: see `PageHolds`."""
        self.ledger = ledger
        self.requests: dict[str, Request] = {}
        self.waiting: WaitingQueue[Sequence] = WaitingQueue(policy)
        self.running: list[Sequence] = []
        self.paused: dict[str, Sequence] = {}
        self.preemptions = 0
        self.reliefs: Counter[Relief] = Counter()
        """What became of the pages of those that gave way."""
        self._kept: dict[str, Sequence] = {}
        """Waiting ones that have pages."""
        self.admission = Admission(ledger.pool.total_pages)
        self._policy = policy
        self._max_running = max_running
        self._clock = clock
        self.holds = PageHolds(ledger, clock, tenant_share=tenant_hold_share)
        self._starved: set[Sequence] = set()
        """Those whose prompts the last step had no tokens for: nobody waits for them."""

    def __iter__(self) -> Iterator[Sequence]:
        """All sequences that exist: running, paused, then waiting ones in their order."""
        yield from self.running
        yield from self.paused.values()
        yield from self.waiting

    @property
    def max_running(self) -> int:
        """How many may run at a time now: no more than the pages will do for, as measured."""
        return self.admission.limit(self._max_running)

    @property
    def has_room(self) -> bool:
        """Whether one more sequence may run."""
        return len(self.running) < self.max_running

    # Requests

    def add(self, request: Request, sequences: list[Sequence]) -> None:
        """Take in a request; `sequences` wait from now on, its unborn ones do later."""
        self.requests[request.id] = request
        for sequence in sequences:
            self._join(sequence)
            self.waiting.add(sequence)

    def remove(self, request: Request) -> None:
        """Drop a request with all its sequences; their pages are free or cached."""
        request.unborn.clear()
        for sequence in list(request.sequences):
            self.end(sequence)
        self._forget(request)

    def renice(self, request: Request, priority: int) -> None:
        """Change a request's priority, which also moves its place in the queue."""
        queued = [sequence for sequence in request.sequences if sequence in self.waiting]
        for sequence in queued:
            self.waiting.remove(sequence)
        request.priority = priority
        for sequence in request.sequences:
            sequence.stand()
            if sequence.holding:
                sequence.holding.priority = priority
        for sequence in queued:
            self.waiting.add(sequence)

    def pause(self, request: Request) -> None:
        """Hold all its sequences; they keep their pages as long as nobody needs them."""
        request.is_paused = True
        for sequence in request.sequences:
            if sequence.key not in self.paused:
                self._withdraw(sequence)
                self._policy.on_left(sequence)
                self._set_state(sequence, "paused")
                self.paused[sequence.key] = sequence

    def resume(self, request: Request) -> None:
        """Let all its sequences go on, at their old place."""
        request.is_paused = False
        for sequence in request.sequences:
            if self.paused.pop(sequence.key, None) is None:
                continue
            self._policy.on_joined(sequence)
            if sequence.holding and self.has_room:
                self.running.append(sequence)
                self._set_running(sequence)
            else:
                self._release(sequence)
                self._set_state(sequence, "waiting")
                self.waiting.add(sequence)

    # The policy

    @property
    def policy(self) -> Policy:
        """The one in force."""
        return self._policy

    def set_policy(self, policy: Policy) -> None:
        """Go on by another policy; whoever waits, runs or is paused goes on doing so."""
        for sequence in (*self.running, *self.waiting):
            policy.on_joined(sequence)
        self._policy = policy
        self.waiting.set_policy(policy)

    # Sequences

    def settle(self) -> None:
        """Preempt and admit, until everybody who is to run has a place."""
        swaps_left = SWAPS_PER_STEP
        self.holds.expire()
        prefilling = [sequence for sequence in self.running if sequence.remaining > 1]
        while placement := self._place(prefilling, swaps_left):
            if placement.let_go:
                self.holds.release(placement.let_go.hold_id)
            for sequence in placement.preempt:
                self.preempt(sequence, placement.shortage)
            swaps_left -= len(placement.preempt)
            for sequence in placement.admit:
                self.admit(sequence)
            prefilling = placement.prefilling_after(prefilling)

    def share(self, budget: StepBudget) -> list[tuple[Sequence, int]]:
        """How many tokens each running sequence computes in this step, decoding ones first."""
        for hold in self.holds:
            self._policy.on_held(hold.command.tenant, hold.pages)
        shares = share_budget(self.running, budget.allowance(self.running), self._policy)
        self._starved = set()
        if len(shares) < len(self.running):
            self._starved = set(self.running).difference([sequence for sequence, _ in shares])
        return shares

    def book(self, sequence: Sequence, tokens: int) -> None:
        """Account for computed tokens of a running sequence."""
        self._policy.on_served(sequence, sequence.advance(tokens))
        if sequence.state == "prefill":
            self.commit(sequence)

    def victim(self) -> Sequence:
        """The running sequence that gives way first."""
        victim = self._policy.victim(self.running)
        assert isinstance(victim, Sequence)
        return victim

    def admit(self, sequence: Sequence) -> None:
        """Move a waiting sequence to the running ones, with pages for all its known tokens."""
        self.waiting.remove(sequence)
        if self._kept.pop(sequence.key, None) is None:
            self._open(sequence)
        self.running.append(sequence)
        self._set_running(sequence)

    def _open(self, sequence: Sequence) -> None:
        """Give it pages; those of its tokens that are cached hold what was computed."""
        sequence.holding = self.ledger.open(
            sequence.namespace, sequence.matchable, len(sequence.tokens), priority=sequence.priority
        )
        sequence.computed = sequence.holding.cached_pages * PAGE_SLOTS
        self.holds.release(sequence.request.command.hold_id)
        if sequence.started_s is None:
            sequence.cached_tokens = min(sequence.computed, sequence.prompt_tokens)

    def preempt(self, sequence: Sequence, shortage: Shortage = "pages") -> None:
        """Take a sequence's place, and its pages when pages are short; it goes on later.

        Pages that it gives up stay in the prefix tree until somebody needs them. Then they go
        down a tier where that is cheaper than to compute their tokens again; else they are lost.
        """
        tiers = self.ledger.tiers
        relief = choose_relief(
            shortage, is_trip_cheaper=tiers is not None and tiers.is_spill_cheaper()
        )
        self.reliefs[relief] += 1
        if relief == "keep" and sequence.holding:
            self.commit(sequence)
        else:
            self._release(sequence)
        if sequence.key in self._kept:
            if not sequence.holding:
                del self._kept[sequence.key]
            return
        sequence.preemptions += 1
        self.preemptions += 1
        if sequence.key not in self.paused:
            self._withdraw(sequence)
            self._set_state(sequence, "preempted")
            self.waiting.add(sequence)
            if sequence.holding:
                self._kept[sequence.key] = sequence

    def branch(self, parent: Sequence, child: Sequence) -> bool:
        """Let a new sequence go on where the parent stands; whether it runs at once.

        It shares the parent's pages if those hold all the parent has and there is room to run;
        else it waits, and will find them in the prefix tree.
        """
        self._join(child)
        if parent.holding is None or parent.remaining > 1 or not self.has_room:
            self.waiting.add(child)
            return False
        child.holding = self.ledger.fork(parent.holding, parent.computed)
        child.holding.priority = child.priority
        child.computed = parent.computed
        child.cached_tokens = min(child.computed, child.prompt_tokens)
        child.started_s = self._clock()
        self.running.append(child)
        self._set_running(child)
        return True

    def end(self, sequence: Sequence) -> None:
        """Forget a sequence; its full pages stay cached."""
        if sequence.holding:
            self.admission.on_ended()
            if sequence.outputs:
                self.admission.observe(_mean_pages(sequence))
        if sequence.key not in self.paused:
            self._policy.on_left(sequence)
        self._withdraw(sequence)
        self._release(sequence)
        sequence.request.sequences.remove(sequence)
        if not sequence.request.sequences and not sequence.request.unborn:
            self._forget(sequence.request)

    def make_writable(self, sequence: Sequence) -> tuple[int, int] | None:
        """Give a running sequence the page of its next token; (from, to) if one must be copied."""
        holding = sequence.holding
        assert holding is not None
        if sequence.computed >= len(holding.pages) * PAGE_SLOTS:
            self.ledger.grow(holding, 1)
        elif holding.is_tail_shared:
            return self.ledger.unshare_tail(holding, sequence.computed)
        return None

    def commit(self, sequence: Sequence) -> None:
        """Let others share the pages that the sequence has computed so far."""
        assert sequence.holding is not None
        self.ledger.commit(sequence.holding, sequence.tokens, sequence.computed)

    def check_integrity(self) -> None:
        """Assert that every sequence is in one place and every page is accounted for."""
        everybody = list(self)
        assert len({id(sequence) for sequence in everybody}) == len(everybody)
        known = [s for request in self.requests.values() for s in request.sequences]
        assert {id(sequence) for sequence in known} == {id(sequence) for sequence in everybody}
        for sequence in self.waiting:
            assert (sequence.holding is not None) == (sequence.key in self._kept)
            assert sequence.holding or sequence.computed == 0
            assert sequence.computed < len(sequence.tokens)
        for sequence in self.running:
            assert sequence.holding is not None
            assert sequence.computed < len(sequence.tokens)
        self.holds.check_integrity()
        held = [hold.holding for hold in self.holds]
        self.ledger.check_integrity([*held, *(s.holding for s in everybody if s.holding)])

    def _place(self, prefilling: list[Sequence], swaps_left: int) -> Placement[Sequence]:
        # Who gets on with its prompt: others may wait for its pages.
        leaders = [s for s in prefilling if s not in self._starved]
        return place(
            self.running,
            self.waiting.after(prefilling),
            [s for s in (*self.paused.values(), *self._kept.values()) if s.holding],
            policy=self._policy,
            max_running=self.max_running,
            available_pages=self.ledger.available_pages,
            cost=self._cost,
            swaps_left=swaps_left,
            held=tuple(self.holds),
            is_deferred=lambda work, admitted: should_follow(
                work, (*leaders, *admitted), page_slots=PAGE_SLOTS, cached_pages=self._cached_pages
            ),
        )

    def _join(self, sequence: Sequence) -> None:
        """A sequence of a request exists from now on."""
        sequence.stand()
        sequence.request.sequences.append(sequence)
        self._policy.on_joined(sequence)

    def _forget(self, request: Request) -> None:
        """A request is over: the next turn may have its place in line."""
        if self.requests.pop(request.id, None):
            self.holds.remember(request.id, request.place)
            self.holds.release(request.command.hold_id)

    def _cached_pages(self, sequence: Sequence) -> int:
        return self.ledger.tree.peek(sequence.namespace, sequence.matchable)[0]

    def _cost(self, sequence: Sequence) -> int:
        if sequence.holding:
            return sequence.needed_pages
        return self.ledger.cost(sequence.namespace, sequence.matchable, len(sequence.tokens))

    def _release(self, sequence: Sequence) -> None:
        if sequence.holding:
            self.commit(sequence)
            self.ledger.close(sequence.holding)
            sequence.holding = None
        sequence.computed = 0

    def _withdraw(self, sequence: Sequence) -> None:
        """Take it out of wherever it is."""
        if sequence in self.waiting:
            self.waiting.remove(sequence)
            self._kept.pop(sequence.key, None)
        elif self.paused.pop(sequence.key, None) is None:
            self.running.remove(sequence)

    def _set_running(self, sequence: Sequence) -> None:
        sequence.since_s = self._clock()
        sequence.state = "decode" if sequence.remaining == 1 else "prefill"

    def _set_state(self, sequence: Sequence, state: State) -> None:
        if sequence.state in ("prefill", "decode"):
            sequence.running_s += self._clock() - sequence.since_s
        sequence.state = state


def _mean_pages(sequence: Sequence) -> float:
    """Pages of its own that an ending sequence held, as a mean over the time that it wrote in.

    It had those of its prompt all the time, and those of its output for half of it.
    """
    assert sequence.holding is not None
    own = len(sequence.holding.pages) - sequence.cached_tokens // PAGE_SLOTS
    return own - len(sequence.outputs) / PAGE_SLOTS / 2
