"""Requests that want a model: who may use it now, what is loaded and unloaded for whom.

Pure: told of requests, models and the time, it answers with instructions.

A request whose model is ready goes at once. One whose model has no room waits until the models in
its way are idle; it keeps its place: by priority, a level for every `AGING_S` seconds of waiting.
A request that is ahead of others by `AGING_S` or more, be it by priority or by having waited,
stops them from using what it waits for. So a stream of requests for one model delays another
model by `AGING_S` and the time of one answer at most, and models are not swapped for each request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from lingos_kernel.memory.sizes import mib
from lingos_kernel.memory.weights import Evict, Fits, Refuse, Room, Wait, Weights

AGING_S = 10.0
"""Waiting so long counts as much as one level of priority."""


@dataclass(slots=True, eq=False)
class Claim:
    """A request that wants to use a model."""

    id: str
    model: str
    need_bytes: int
    """The least that the model takes when it must be loaded."""
    tenant: str
    priority: int
    """Lower is more urgent, as with Unix nice."""
    arrival_s: float
    order: int
    """Of its arrival among all."""
    is_held: bool = False
    """Paused: it wants nothing for now."""

    @property
    def rank_s(self) -> float:
        """Its place: the lower the sooner. Time changes nothing in it."""
        return self.arrival_s + self.priority * AGING_S


@dataclass(frozen=True, slots=True)
class Grant:
    """The request may use its model."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Decline:
    """The request's model cannot be had; the sums say why."""

    claim: Claim
    sums: str


@dataclass(frozen=True, slots=True)
class Load:
    """Load a model into at most `room_bytes` (0: no bound)."""

    model: str
    room_bytes: int


@dataclass(frozen=True, slots=True)
class Unload:
    """Unload an idle model."""

    model: str
    reason: str


Instruction = Grant | Decline | Load | Unload


@dataclass(slots=True)
class _Pass:
    """What one round of decisions has come to so far."""

    now_s: float
    instructions: list[Instruction] = field(default_factory=list)
    promised_bytes: int = 0
    """Becoming free for requests that are ahead."""
    waiting: list[tuple[float, frozenset[str]]] = field(default_factory=list)
    """Ranks of those ahead that wait for models in use, and which."""
    seen: set[str] = field(default_factory=set)
    """Models for which room was looked for."""


class Claims:
    """All requests that wait for their model. The weights know of those that use one."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.reasons: dict[str, str] = {}
        """Why each model that is waited for is not there yet."""
        self._waiting: dict[str, Claim] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Claim]:
        """Those that wait, next first."""
        return iter(sorted(self._waiting.values(), key=lambda c: (c.rank_s, c.order)))

    def __contains__(self, claim_id: str) -> bool:
        return claim_id in self._waiting

    def get(self, claim_id: str) -> Claim | None:
        """The claim, while it waits."""
        return self._waiting.get(claim_id)

    def of(self, model: str) -> list[Claim]:
        """Those that wait for a model, next first."""
        return [claim for claim in self if claim.model == model]

    def add(self, claim: Claim) -> None:
        """Take a request in."""
        self._waiting[claim.id] = claim

    def remove(self, claim_id: str) -> Claim | None:
        """Forget a request that was granted, refused or cancelled."""
        return self._waiting.pop(claim_id, None)

    def decide(self, now_s: float) -> list[Instruction]:
        """What is to be done now; counts as done from here on. Call it again after each event."""
        round_ = _Pass(now_s)
        self.reasons.clear()
        for claim in self:
            if not claim.is_held:
                self._consider(claim, round_)
        for name in self.weights.expired(now_s):
            self._unload(name, "idle", round_)
        return round_.instructions

    # Inside

    def _consider(self, claim: Claim, round_: _Pass) -> None:
        resident = self.weights.residents.get(claim.model)
        if resident and resident.status == "ready":
            if not _is_behind(claim, round_, claim.model):
                self._waiting.pop(claim.id)
                self.weights.use(claim.model, claim.id, round_.now_s)
                round_.instructions.append(Grant(claim))
            else:
                self.reasons.setdefault(claim.model, f"{claim.model} is to make room for others")
        elif resident:
            self.reasons.setdefault(claim.model, f"{claim.model} is {resident.status}")
        elif claim.model not in round_.seen:
            self._bring(claim, round_)

    def _bring(self, claim: Claim, round_: _Pass) -> None:
        """Have the model of a request loaded, or what is in its way unloaded."""
        round_.seen.add(claim.model)
        if _is_behind(claim, round_):
            self.reasons[claim.model] = f"waiting for model {claim.model}: others are ahead"
            return
        room = self.weights.make_room(
            claim.model,
            claim.need_bytes,
            claim.tenant,
            round_.now_s,
            promised_bytes=round_.promised_bytes,
        )
        match room:
            case Fits(room_bytes):
                taken = room_bytes or claim.need_bytes
                self.weights.on_loading(claim.model, taken, claim.tenant, round_.now_s)
                round_.instructions.append(Load(claim.model, room_bytes))
            case Evict(names):
                for name in names:
                    self._unload(name, f"room for {claim.model}", round_)
                round_.promised_bytes += claim.need_bytes
            case Wait(names, is_certain):
                if is_certain:
                    round_.promised_bytes += claim.need_bytes
                else:
                    round_.waiting.append((claim.rank_s, frozenset(names)))
            case Refuse(sums):
                round_.seen.discard(claim.model)  # another tenant may have room for it
                self._waiting.pop(claim.id)
                round_.instructions.append(Decline(claim, sums))
        self._explain(claim, room)

    def _explain(self, claim: Claim, room: Room) -> None:
        what = f"waiting for model {claim.model}: {mib(claim.need_bytes)} needed"
        match room:
            case Fits():
                self.reasons[claim.model] = f"{claim.model} is loading"
            case Evict(names):
                self.reasons[claim.model] = f"{what}, {', '.join(names)} leaving"
            case Wait(names, is_certain):
                state = "on the way" if is_certain else "busy"
                self.reasons[claim.model] = f"{what}, {', '.join(names)} {state}"

    def _unload(self, name: str, reason: str, round_: _Pass) -> None:
        self.weights.on_leaving(name)
        round_.instructions.append(Unload(name, reason))


def _is_behind(claim: Claim, round_: _Pass, model: str | None = None) -> bool:
    """Whether somebody so far ahead waits (for this model to be idle) that the claim must, too."""
    return any(
        rank_s + AGING_S <= claim.rank_s and (model is None or model in models)
        for rank_s, models in round_.waiting
    )


def claims_line(claims: Iterable[Claim]) -> dict[str, int]:
    """The place of each claim among those for its model, by id; 0 is next."""
    counts: dict[str, int] = {}
    places = {}
    for claim in claims:
        places[claim.id] = counts.get(claim.model, 0)
        counts[claim.model] = places[claim.id] + 1
    return places
