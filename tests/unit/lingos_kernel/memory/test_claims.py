"""Requests that wait for models: order, fairness, and that nobody waits for nothing."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lingos_kernel.memory.claims import (
    AGING_S,
    Claim,
    Claims,
    Decline,
    Grant,
    Instruction,
    Load,
    Unload,
    claims_line,
)
from lingos_kernel.memory.weights import Weights


class Room:
    """A budget of 100 for models of given sizes; loads and unloads end when a test says so."""

    def __init__(self, **sizes: int) -> None:
        self.weights = Weights(100)
        self.claims = Claims(self.weights)
        self.sizes = sizes
        self.now_s = 0.0
        self.orders = 0

    def ask(self, claim_id: str, model: str, *, priority: int = 0, held: bool = False) -> None:
        """A request arrives."""
        self.orders += 1
        size = self.sizes[model]
        claim = Claim(claim_id, model, size, "", priority, self.now_s, self.orders, held)
        self.claims.add(claim)

    def decide(self) -> list[str]:
        """What is decided, in short; loads and unloads end at once."""
        said: list[str] = []
        while instructions := self.claims.decide(self.now_s):
            said += [self._do(instruction) for instruction in instructions]
        return said

    def end(self, claim_id: str) -> None:
        """A request that uses its model ends."""
        for name in self.weights.residents:
            self.weights.leave(name, claim_id, self.now_s)

    def _do(self, instruction: Instruction) -> str:
        match instruction:
            case Grant(claim):
                return f"grant {claim.id}"
            case Decline(claim):
                return f"decline {claim.id}"
            case Load(model):
                self.weights.on_loaded(model, self.sizes[model], self.now_s)
                return f"load {model}"
            case Unload(model):
                self.weights.on_gone(model)
                return f"unload {model}"


def test_a_request_brings_its_model_and_another_shares_it() -> None:
    """Loaded once; both use it at one time."""
    room = Room(a=60)
    room.ask("a1", "a")
    room.ask("a2", "a")
    assert room.decide() == ["load a", "grant a1", "grant a2"]
    assert room.weights.residents["a"].users == {"a1", "a2"}


def test_two_models_that_fit_are_both_there() -> None:
    """Nothing is unloaded while there is room."""
    room = Room(a=50, b=50)
    room.ask("a1", "a")
    room.ask("b1", "b")
    assert [said for said in room.decide() if said.startswith("unload")] == []
    assert set(room.weights.residents) == {"a", "b"}


def test_a_second_model_queues_until_the_first_is_idle() -> None:
    """It says for what; then the first leaves, and it is loaded."""
    room = Room(a=60, b=70)
    room.ask("a1", "a")
    room.decide()
    room.ask("b1", "b")
    assert room.decide() == []
    assert room.claims.reasons["b"] == "waiting for model b: 0.0 MiB needed, a busy"
    room.end("a1")
    assert room.decide() == ["unload a", "load b", "grant b1"]


def test_a_stream_of_requests_delays_another_model_by_a_bounded_time() -> None:
    """New requests go on for `AGING_S`, then queue behind the other model, in their order."""
    room = Room(a=60, b=60)
    room.ask("a0", "a")
    room.decide()
    room.ask("b", "b")
    room.now_s = AGING_S - 1
    room.ask("a1", "a")
    assert room.decide() == ["grant a1"]
    room.now_s = AGING_S
    room.ask("a2", "a")
    assert room.decide() == []
    room.end("a0")
    assert room.decide() == []
    room.end("a1")
    assert room.decide() == ["unload a", "load b", "grant b"]
    room.end("b")
    assert room.decide() == ["unload b", "load a", "grant a2"]


def test_priority_decides_first() -> None:
    """A more urgent request for another model is passed by nobody who comes after it."""
    room = Room(a=60, b=60)
    room.ask("a0", "a")
    room.decide()
    room.ask("b", "b", priority=-1)
    room.ask("a1", "a")
    assert room.decide() == []
    room.ask("a2", "a", priority=-2)
    assert room.decide() == ["grant a2"]


def test_less_urgent_work_does_not_starve() -> None:
    """It needs `AGING_S` for each level."""
    room = Room(a=60, b=60)
    room.ask("a0", "a")
    room.decide()
    room.ask("b", "b", priority=2)
    room.now_s = 3 * AGING_S - 1
    room.ask("a1", "a")
    assert room.decide() == ["grant a1"]
    room.now_s = 3 * AGING_S
    room.ask("a2", "a")
    assert room.decide() == []


def test_a_third_model_may_fill_a_gap_but_not_for_ever() -> None:
    """What fits beside goes in; who came much later may not take the room that is waited for."""
    room = Room(a=60, b=80, c=30)
    room.ask("a0", "a")
    room.decide()
    room.ask("b", "b")
    room.now_s = 1.0
    room.ask("c1", "c")
    assert room.decide() == ["load c", "grant c1"]
    room.end("c1")
    room.now_s = AGING_S
    room.ask("c2", "c")
    assert room.decide() == []
    room.end("a0")
    assert room.decide() == ["unload c", "unload a", "load b", "grant b"]


def test_what_never_fits_is_declined_and_holds_up_nobody() -> None:
    """At once, however busy it is."""
    room = Room(a=60, huge=101)
    room.ask("a1", "a")
    room.ask("huge", "huge")
    assert room.decide() == ["load a", "decline huge", "grant a1"]


def test_a_paused_request_wants_nothing() -> None:
    """It keeps its place for when it goes on."""
    room = Room(a=60, b=60)
    room.ask("b", "b", held=True)
    room.ask("a1", "a")
    assert room.decide() == ["load a", "grant a1"]
    claim = room.claims.get("b")
    assert claim
    claim.is_held = False
    room.end("a1")
    assert room.decide() == ["unload a", "load b", "grant b"]


def test_a_stopped_request_holds_up_nobody() -> None:
    """Its model leaves when another needs the room; then it asks again, as anybody."""
    room = Room(a=60, b=60)
    room.ask("a1", "a")
    room.decide()
    room.ask("b", "b")
    assert room.decide() == []
    room.weights.hold("a", "a1", 1.0, is_held=True)
    assert room.decide() == ["unload a", "load b", "grant b"]
    assert not room.weights.is_used_by("a", "a1")
    room.ask("a1", "a")
    assert room.decide() == []
    room.end("b")
    assert room.decide() == ["unload b", "load a", "grant a1"]


def test_places_in_line_are_counted_for_each_model() -> None:
    """The next one is at place 0."""
    room = Room(a=60, b=60)
    for claim_id, model in (("a1", "a"), ("b1", "b"), ("a2", "a")):
        room.ask(claim_id, model)
    assert claims_line(room.claims) == {"a1": 0, "b1": 0, "a2": 1}


SIZES = {"a": 30, "b": 45, "c": 60, "d": 90, "e": 120}
NAMES = st.sampled_from(sorted(SIZES))


class Machine(RuleBasedStateMachine):
    """Any order of requests, endings, loads, pins and time."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(**SIZES)
        self.weights, self.claims = self.room.weights, self.room.claims
        self.loading: dict[str, int] = {}
        self.leaving: set[str] = set()
        self.using: dict[str, Claim] = {}
        self.stopped: set[str] = set()
        self.count = 0

    @rule(model=NAMES, priority=st.integers(-2, 2))
    def ask(self, model: str, priority: int) -> None:
        """A request arrives."""
        self.count += 1
        self.room.ask(f"{model}{self.count}", model, priority=priority)
        self.decide()

    @precondition(lambda self: self.using)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """A request ends."""
        claim = self.using.pop(data.draw(st.sampled_from(sorted(self.using))))
        self.stopped.discard(claim.id)
        self.weights.leave(claim.model, claim.id, self.room.now_s)
        self.decide()

    @precondition(lambda self: self.using)
    @rule(data=st.data())
    def stop_or_continue(self, data: st.DataObject) -> None:
        """A request that uses a model is stopped, or goes on; without its model it asks again."""
        claim = self.using[data.draw(st.sampled_from(sorted(self.using)))]
        self.stopped ^= {claim.id}
        is_stopped = claim.id in self.stopped
        if is_stopped or self.weights.is_used_by(claim.model, claim.id):
            now_s = self.room.now_s
            self.weights.hold(claim.model, claim.id, now_s, is_held=is_stopped)
        else:
            del self.using[claim.id]
            self.room.ask(claim.id, claim.model, priority=claim.priority)
        self.decide()

    @precondition(lambda self: len(self.claims))
    @rule(data=st.data(), is_cancelled=st.booleans())
    def hold_or_cancel(self, data: st.DataObject, is_cancelled: bool) -> None:
        """A request that waits is paused, goes on, or is cancelled."""
        claim = data.draw(st.sampled_from(list(self.claims)))
        if is_cancelled:
            self.claims.remove(claim.id)
        else:
            claim.is_held = not claim.is_held
        self.decide()

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), works=st.booleans())
    def loaded(self, data: st.DataObject, works: bool) -> None:
        """A load ends; a model that fails fails its requests."""
        name = data.draw(st.sampled_from(sorted(self.loading)))
        room_bytes = self.loading.pop(name)
        if works:
            size = data.draw(st.integers(SIZES[name], room_bytes))
            self.weights.on_loaded(name, size, self.room.now_s)
        else:
            self.weights.on_gone(name)
            for claim in self.claims.of(name):
                self.claims.remove(claim.id)
        self.decide()

    @precondition(lambda self: self.leaving)
    @rule(data=st.data())
    def gone(self, data: st.DataObject) -> None:
        """An unload ends."""
        name = data.draw(st.sampled_from(sorted(self.leaving)))
        self.leaving.discard(name)
        self.weights.on_gone(name)
        self.decide()

    @rule(model=NAMES)
    def pin(self, model: str) -> None:
        """A model is pinned, or no longer."""
        self.weights.pinned ^= {model}
        self.decide()

    @rule(seconds=st.floats(0.0, 3 * AGING_S))
    def wait(self, seconds: float) -> None:
        """Time passes; idle models have a time to live."""
        self.weights.idle_unload_s = 2 * AGING_S
        self.room.now_s += seconds
        self.decide()

    def decide(self) -> None:
        """Do what is decided, and check each instruction."""
        for instruction in self.claims.decide(self.room.now_s):
            match instruction:
                case Grant(claim):
                    assert self.weights.residents[claim.model].status == "ready"
                    assert not claim.is_held
                    self.using[claim.id] = claim
                case Decline(claim):
                    kept = [
                        r.bytes
                        for r in self.weights.residents.values()
                        if r.name in self.weights.pinned
                    ]
                    assert claim.need_bytes + sum(kept) > 100
                case Load(model, room_bytes):
                    assert room_bytes >= SIZES[model]
                    self.loading[model] = room_bytes
                case Unload(model):
                    assert model not in self.weights.pinned
                    users = [claim.id for claim in self.using.values() if claim.model == model]
                    assert self.stopped.issuperset(users)
                    self.leaving.add(model)

    @invariant()
    def never_over_budget(self) -> None:
        """Whatever the models take of their room, the budget holds."""
        assert sum(r.bytes for r in self.weights.residents.values()) <= 100

    @invariant()
    def the_books_agree(self) -> None:
        """Every user is a request that runs, or was stopped; who was, may have lost its model."""
        residents = [r for r in self.weights.residents.values() if r.status == "ready"]
        users = {user for r in residents for user in r.users}
        assert users <= set(self.using)
        assert set(self.using) - users <= self.stopped
        for resident in residents:
            assert resident.held == resident.users & self.stopped

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """With nothing in use and nothing on the way, only paused requests wait."""
        if self.stopped.issuperset(self.using) and not self.loading and not self.leaving:
            assert all(claim.is_held for claim in self.claims)

    def teardown(self) -> None:
        """When everything ends, everybody is served or was told why not."""
        for claim in self.claims:
            claim.is_held = False
        self.weights.pinned.clear()
        for _ in range(10_000):
            self.decide()
            if not (self.using or self.loading or self.leaving or len(self.claims)):
                return
            for name, room_bytes in self.loading.items():
                self.weights.on_loaded(name, room_bytes, self.room.now_s)
            for name in self.leaving:
                self.weights.on_gone(name)
            for claim in self.using.values():
                self.weights.leave(claim.model, claim.id, self.room.now_s)
            self.loading, self.leaving, self.using, self.stopped = {}, set(), {}, set()
        raise AssertionError("somebody waits for ever")


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
