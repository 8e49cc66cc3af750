"""Which models are in memory, and who gives way to another: pure decisions on one budget.

The budget M covers weights and KV pools of all models together. Who is in use is never put out;
of the idle ones the least recently used goes first, but not who is pinned or reserved. A model that
has stopped requests only is idle, too: they go on from their tokens once they are continued.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from lingos_kernel.memory.sizes import mib

Status = Literal["loading", "ready", "leaving"]


@dataclass(slots=True)
class Resident:
    """A model that is in memory, or on its way in or out."""

    name: str
    bytes: int
    """Weights and KV pool; what was planned until it is ready."""
    tenant: str
    """Whose request brought it in."""
    status: Status
    last_used_s: float
    users: set[str] = field(default_factory=set)
    """Requests that use it."""
    held: set[str] = field(default_factory=set)
    """Those of the users that are stopped: they do not keep it in memory."""

    @property
    def is_idle(self) -> bool:
        """Whether it could be unloaded now."""
        return self.status == "ready" and self.users <= self.held


@dataclass(frozen=True, slots=True)
class Reservation:
    """Memory that a tenant keeps until a time: for a model by name, or so many bytes."""

    tenant: str
    until_s: float
    model: str = ""
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Fits:
    """There is room."""

    room_bytes: int
    """The most that the model may take; 0: nothing is known of the device."""


@dataclass(frozen=True, slots=True)
class Evict:
    """There will be room once these idle models are unloaded."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """There will be room once these models, which are in use, could be unloaded."""

    names: tuple[str, ...]
    is_certain: bool
    """They are being unloaded or loaded: nobody has to end."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """There will be no room, whoever ends; the sums say why."""

    sums: str


Room = Fits | Evict | Wait | Refuse


class Weights:
    """The models in memory under one budget. Told of events, asked for decisions."""

    def __init__(self, budget_bytes: int = 0, *, idle_unload_s: float = 0.0) -> None:
        """`budget_bytes` 0: unknown, everything fits. `idle_unload_s` 0: idle models stay."""
        self.budget_bytes = budget_bytes
        self.idle_unload_s = idle_unload_s
        self.residents: dict[str, Resident] = {}
        self.pinned: set[str] = set()
        self.ttl_s: dict[str, float] = {}
        """Times to live of single models, in place of `idle_unload_s`."""
        self.reservations: list[Reservation] = []

    # Events

    def on_loading(self, name: str, room_bytes: int, tenant: str, now_s: float) -> None:
        """A model is being loaded, and may take so much."""
        self.residents[name] = Resident(name, room_bytes, tenant, "loading", now_s)

    def on_loaded(self, name: str, size_bytes: int, now_s: float) -> None:
        """A model is ready; now its size is known."""
        resident = self.residents.setdefault(name, Resident(name, 0, "", "ready", now_s))
        resident.bytes, resident.status, resident.last_used_s = size_bytes, "ready", now_s

    def on_leaving(self, name: str) -> None:
        """An idle model is being unloaded."""
        self.residents[name].status = "leaving"

    def on_gone(self, name: str) -> None:
        """A model is no longer in memory, or could not be loaded."""
        self.residents.pop(name, None)

    def use(self, name: str, user: str, now_s: float) -> None:
        """A request uses a ready model from now on."""
        resident = self.residents[name]
        assert resident.status == "ready"
        resident.users.add(user)
        resident.held.discard(user)
        resident.last_used_s = now_s

    def is_used_by(self, name: str, user: str) -> bool:
        """Whether a request has its model, which is not about to leave."""
        resident = self.residents.get(name)
        return resident is not None and resident.status == "ready" and user in resident.users

    def hold(self, name: str, user: str, now_s: float, *, is_held: bool) -> None:
        """A request that uses a model is stopped, or goes on; others are ignored."""
        if self.is_used_by(name, user):
            resident = self.residents[name]
            (resident.held.add if is_held else resident.held.discard)(user)
            resident.last_used_s = now_s

    def leave(self, name: str, user: str, now_s: float) -> None:
        """The request has ended; nothing happens when its model is gone."""
        resident = self.residents.get(name)
        if resident and user in resident.users:
            resident.users.discard(user)
            resident.held.discard(user)
            resident.last_used_s = now_s

    # Wishes

    def reserve(self, reservation: Reservation) -> None:
        """Keep memory for a tenant; replaces the tenant's reservation of the same model."""
        self.release(reservation.tenant, reservation.model)
        self.reservations.append(reservation)

    def release(self, tenant: str, model: str) -> bool:
        """End a tenant's reservation of a model, or of bytes (""); whether there was one."""
        kept = [r for r in self.reservations if (r.tenant, r.model) != (tenant, model)]
        found = len(kept) < len(self.reservations)
        self.reservations = kept
        return found

    def reservation(self, model: str, now_s: float) -> Reservation | None:
        """The reservation of a model that lasts longest, if any is in force."""
        mine = [r for r in self.reservations if r.model == model and r.until_s > now_s]
        return max(mine, key=lambda r: r.until_s, default=None) if model else None

    def is_kept(self, name: str, now_s: float) -> bool:
        """Whether a model stays in memory however idle it is."""
        return name in self.pinned or self.reservation(name, now_s) is not None

    # Decisions

    def free_for(self, tenant: str, now_s: float, without: Collection[str] = ()) -> int:
        """What a tenant's models may still take of the budget, if the named ones were gone."""
        free = self.budget_bytes
        taken: dict[str, int] = {}
        for resident in self.residents.values():
            if resident.name not in without:
                free -= resident.bytes
                taken[resident.tenant] = taken.get(resident.tenant, 0) + resident.bytes
        for other, reserved in self._reserved_bytes(now_s).items():
            if other != tenant:
                free -= max(reserved - taken.get(other, 0), 0)
        return free

    def make_room(
        self, name: str, need_bytes: int, tenant: str, now_s: float, *, promised_bytes: int = 0
    ) -> Room:
        """What must happen before a model of so many bytes can be loaded.

        `promised_bytes` of what is free, or is becoming free, belong to others.
        """
        if not self.budget_bytes:
            return Fits(0)
        if need_bytes > self.free_for(tenant, now_s, self._movable(now_s)):
            return Refuse(self._sums(name, need_bytes, tenant, now_s))
        leaving = self._in_state("leaving")
        settled = self.free_for(tenant, now_s, leaving) - promised_bytes
        if need_bytes <= settled:
            room = min(self.free_for(tenant, now_s), settled)
            return Fits(room) if need_bytes <= room else Wait(tuple(leaving), is_certain=True)
        if loading := self._in_state("loading"):  # they take what they may until it is known
            return Wait((*leaving, *loading), is_certain=True)
        victims = self._victims(need_bytes + promised_bytes, tenant, now_s, leaving)
        if not victims:  # there would be room, but it is promised
            return Wait(tuple(leaving), is_certain=True)
        if any(not self.residents[victim].is_idle for victim in victims):
            return Wait(tuple(victims), is_certain=False)
        return Evict(tuple(victims))

    def idle(self, now_s: float) -> list[str]:
        """Models that could be put out, the least recently used first."""
        found = [
            r for r in self.residents.values() if r.is_idle and not self.is_kept(r.name, now_s)
        ]
        return [r.name for r in sorted(found, key=lambda r: r.last_used_s)]

    def expired(self, now_s: float) -> list[str]:
        """Idle models whose time to live is over."""
        return [name for name in self.idle(now_s) if self._expiry_s(name) <= now_s]

    def next_expiry_s(self, now_s: float) -> float | None:
        """When `expired` may name another model, if nothing else happens."""
        idle = [r.name for r in self.residents.values() if r.is_idle and r.name not in self.pinned]
        times = [max(self._expiry_s(name), self._reserved_until_s(name, now_s)) for name in idle]
        return min((time_s for time_s in times if time_s != float("inf")), default=None)

    # Inside

    def _movable(self, now_s: float) -> list[str]:
        """Models that may go some day; one that is being loaded may turn out smaller, too."""
        residents = self.residents.values()
        return [r.name for r in residents if r.status != "ready" or not self.is_kept(r.name, now_s)]

    def _in_state(self, status: Status) -> list[str]:
        return [r.name for r in self.residents.values() if r.status == status]

    def _victims(
        self, wanted_bytes: int, tenant: str, now_s: float, leaving: list[str]
    ) -> list[str]:
        """Who must go: idle ones first, then those with stopped requests only; [] if none help.

        Of equals the least recently used goes first.
        """
        movable = [
            r
            for r in self.residents.values()
            if r.status == "ready" and not self.is_kept(r.name, now_s)
        ]
        movable.sort(key=lambda r: (not r.is_idle, bool(r.users), r.last_used_s))
        gone = list(leaving)
        for resident in movable:
            before = self.free_for(tenant, now_s, gone)
            if before >= wanted_bytes:
                break
            if self.free_for(tenant, now_s, [*gone, resident.name]) > before:
                gone.append(resident.name)
        if self.free_for(tenant, now_s, gone) < wanted_bytes:
            return []
        for name in reversed(gone[len(leaving) :]):  # a later, larger one may suffice alone
            fewer = [other for other in gone if other != name]
            if self.free_for(tenant, now_s, fewer) >= wanted_bytes:
                gone = fewer
        return gone[len(leaving) :]

    def _reserved_bytes(self, now_s: float) -> dict[str, int]:
        found: dict[str, int] = {}
        for reservation in self.reservations:
            if reservation.until_s > now_s and reservation.bytes:
                tenant = reservation.tenant
                found[tenant] = found.get(tenant, 0) + reservation.bytes
        return found

    def _expiry_s(self, name: str) -> float:
        ttl_s = self.ttl_s.get(name, self.idle_unload_s)
        return self.residents[name].last_used_s + ttl_s if ttl_s else float("inf")

    def _reserved_until_s(self, name: str, now_s: float) -> float:
        reservation = self.reservation(name, now_s)
        return reservation.until_s if reservation else 0.0

    def _sums(self, name: str, need_bytes: int, tenant: str, now_s: float) -> str:
        residents = self.residents.values()
        kept = _listed(r for r in residents if self.is_kept(r.name, now_s))
        held = [
            f"{mib(size)} reserved for {other}"
            for other, size in self._reserved_bytes(now_s).items()
            if other != tenant
        ]
        parts = [f"{kept} pinned or reserved" if kept else "", *held]
        taken = "; ".join(part for part in parts if part)
        return (
            f"{name} needs {mib(need_bytes)} at least, and the budget M is"
            f" {mib(self.budget_bytes)}" + (f", of which {taken}" if taken else "")
        )


def _listed(residents: Iterable[Resident]) -> str:
    return ", ".join(f"{r.name} ({mib(r.bytes)})" for r in residents)
