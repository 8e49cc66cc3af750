"""Keeps an engine's models within the memory budget: loads, unloads and lets requests wait.

What happens when is decided in `memory.claims`; here it is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from itertools import count
from typing import Any

from msgspec.structs import replace

from lingos_kernel.engine.messages import ModelLoaded, ModelSpec
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.errors import (
    Cancelled,
    EngineError,
    LingOSError,
    ModelInUse,
    OutOfMemory,
    UnknownModel,
)
from lingos_kernel.memory.claims import Claim, Claims, Decline, Grant, Instruction, Load, Unload
from lingos_kernel.memory.footprint import Footprint
from lingos_kernel.memory.pages import PAGE_SLOTS
from lingos_kernel.memory.weights import Weights

log = logging.getLogger("lingos.engine")

MEMORY_SHARE = {"cpu": 0.5, "cuda": 0.9}
"""Of the memory that was free when the engine started; other programs want some of it, too."""

Estimate = Callable[[str], Footprint]
"""What a model will take, given the name of its dtype."""


@dataclass(slots=True)
class _Known:
    """A model that can be loaded whenever it is asked for."""

    spec: ModelSpec
    estimate: Estimate
    measured: Footprint | None = None
    """Once it was loaded."""


@dataclass(frozen=True, slots=True)
class Residence:
    """What there is to tell of a model and the memory."""

    state: str
    """stored, waiting (for room), loading, ready, busy, leaving."""
    users: int
    """Requests that use it."""
    waiting: int
    """Requests that wait for it."""
    idle_s: float
    ttl_s: float
    """It leaves after being idle for so long; 0: it stays."""
    pinned: bool
    reserved: str
    """The tenant that keeps it for a time."""
    why: str
    """What the requests that wait for it wait for."""


class WeightsKeeper:
    """Loads and unloads the models of one engine. Belongs to one asyncio loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        memory_bytes: int,
        idle_unload_s: float,
        clock: Callable[[], float],
    ) -> None:
        """`memory_bytes` 0: a share of what the device has free."""
        self.weights = Weights(memory_bytes, idle_unload_s=idle_unload_s)
        self.claims = Claims(self.weights)
        self.clock = clock
        self._engine = engine
        self._known: dict[str, _Known] = {}
        self._granted: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._orders = count()

    async def stop(self) -> None:
        """Let go of everything; whoever waits ends in `Cancelled`."""
        self._stop_timer()
        for claim in list(self.claims):
            self._fail(claim, Cancelled("the engine was stopped", hint="start the kernel again"))
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.weights.residents.clear()
        self._stop_timer()

    # What requests ask for

    def introduce(self, spec: ModelSpec, estimate: Estimate) -> None:
        """Know a model, so that requests can bring it into memory.

        Raises `ModelInUse` when the name is taken by a model in memory with another spec.
        """
        known = self._known.get(spec.name)
        if known is None or known.spec != spec:
            if known and spec.name in self.weights.residents:
                raise ModelInUse(
                    f"the name {spec.name} is taken by {known.spec.path}, or has other settings",
                    hint="unload it first",
                )
            self._known[spec.name] = _Known(spec, estimate)

    def knows(self, name: str) -> bool:
        """Whether the model is in memory, or can be brought there."""
        return name in self._known or name in self.weights.residents

    async def acquire(
        self, user: str, model: str, *, tenant: str, priority: int, is_held: bool = False
    ) -> None:
        """Wait until a model is in memory; from then on it is used by `user`, until `release`.

        `is_held`: the claim begins paused. Raises `UnknownModel`, `OutOfMemory` with the sums when
        there can be no room, and what loading raises.
        """
        self.sync()
        if not self.knows(model):
            raise UnknownModel(f"the model {model} is not loaded", hint="load it first")
        now_s = self.clock()
        need_bytes = self._need_bytes(model)
        order = next(self._orders)
        claim = Claim(user, model, need_bytes, tenant, priority, now_s, order, is_held)
        granted = self._granted[user] = asyncio.get_running_loop().create_future()
        self.claims.add(claim)
        self.pump()
        try:
            await granted
        except BaseException:  # also when it was granted and cancelled in one turn of the loop
            self.claims.remove(user)
            self.release(user, model)
            raise
        finally:
            self._granted.pop(user, None)

    def join(self, user: str, model: str) -> bool:
        """Use a model at once, past all who wait, if it is there."""
        resident = self.weights.residents.get(model)
        if resident is None or resident.status != "ready":
            return False
        self.weights.use(model, user, self.clock())
        return True

    def hold(self, user: str, model: str, *, is_held: bool) -> None:
        """A user is stopped, or goes on: while all are stopped, others may have the room."""
        self.weights.hold(model, user, self.clock(), is_held=is_held)
        self.pump()

    def release(self, user: str, model: str) -> None:
        """The user has ended."""
        self.weights.leave(model, user, self.clock())
        self.pump()

    async def unload(self, name: str) -> None:
        """Unload an idle model, and forget how to bring it back.

        Raises `UnknownModel`, or `ModelInUse` while it is used, waited for, pinned or reserved.
        """
        self.sync()
        resident = self.weights.residents.get(name)
        if resident is None:
            raise UnknownModel(f"the model {name} is not loaded", hint="see the loaded models")
        if resident.users or self.claims.of(name):
            raise ModelInUse(
                f"the model {name} has requests, perhaps stopped ones",
                hint="wait for them, or end them",
            )
        if self.weights.is_kept(name, self.clock()):
            raise ModelInUse(
                f"the model {name} is pinned or reserved",
                hint="end that first (model.unpin, model.release)",
            )
        self._known.pop(name, None)
        if resident.status == "ready":
            self.weights.on_leaving(name)
            await self._unload(name)
            self.pump()

    # What is decided is done

    def pump(self) -> None:
        """Decide and act; to be called after whatever may change a decision."""
        self.sync()
        now_s = self.clock()
        for instruction in self.claims.decide(now_s):
            self._act(instruction)
        self._set_timer(now_s)

    def sync(self) -> None:
        """Take in what the engine has and lost by itself, and how much memory there is."""
        self._measure()
        models, residents = self._engine.models, self.weights.residents
        lost = [r.name for r in residents.values() if r.status == "ready" and r.name not in models]
        for name in lost:
            self.weights.on_gone(name)
        for name, loaded in models.items():
            if name not in residents:
                self._on_loaded(name, loaded)

    def _measure(self) -> None:
        device = self._engine.device
        if not self.weights.budget_bytes and device is not None:
            share = MEMORY_SHARE.get(device.name.partition(":")[0], 0.5)
            self.weights.budget_bytes = int(device.free_bytes * share)

    def _act(self, instruction: Instruction) -> None:
        match instruction:
            case Grant(claim):
                granted = self._granted[claim.id]
                if not granted.done():  # else its task is cancelled, and about to give it back
                    granted.set_result(None)
            case Decline(claim, sums):
                error = OutOfMemory(
                    f"no room for the model: {sums}",
                    hint="unpin or unload another model, lower engine.kv_bytes,"
                    " or raise engine.memory_bytes",
                )
                self._fail(claim, error)
            case Load(model, room_bytes):
                self._begin(self._bring(model, room_bytes))
            case Unload(model, reason):
                log.info("unloading %s (%s)", model, reason)
                self._begin(self._unload(model))

    async def _bring(self, name: str, room_bytes: int) -> None:
        spec = replace(self._known[name].spec, budget_bytes=room_bytes)
        try:
            loaded = await self._load(spec)
        except LingOSError as error:
            self._fail_all(name, error)
        except Exception as error:  # noqa: BLE001 - a driver's fault must not leave anybody waiting
            self._fail_all(name, EngineError(f"{name} could not be loaded: {error!r}"))
        else:
            self._on_loaded(name, loaded)

    async def _load(self, spec: ModelSpec) -> ModelLoaded:
        """Load a model; should the device have less than was planned, idle ones go first."""
        try:
            return await self._engine.load(spec)
        except OutOfMemory as error:
            idle = self.weights.idle(self.clock())
            if not idle:
                raise
            log.warning("%s; unloading %s to try again", error, ", ".join(idle))
            for name in idle:
                self.weights.on_leaving(name)
            for name in idle:
                await self._unload(name)
            return await self._engine.load(self._with_all_room(spec))

    def _with_all_room(self, spec: ModelSpec) -> ModelSpec:
        """The spec of a model that is being loaded, with all that others leave of the budget."""
        resident = self.weights.residents[spec.name]
        if self.weights.budget_bytes:
            resident.bytes = self.weights.free_for(resident.tenant, self.clock(), [spec.name])
            return replace(spec, budget_bytes=resident.bytes)
        return spec

    async def _unload(self, name: str) -> None:
        try:
            await self._engine.unload(name)
        except UnknownModel:
            log.debug("%s was gone already", name)
        except LingOSError as error:
            self.weights.residents[name].status = "ready"
            for claim in list(self.claims):
                if claim.model not in self.weights.residents:
                    self._fail(claim, error)  # rather than to wait for what does not happen
            return
        self.weights.on_gone(name)

    def _on_loaded(self, name: str, loaded: ModelLoaded) -> None:
        size_bytes = loaded.weight_bytes + loaded.kv_bytes
        self.weights.on_loaded(name, size_bytes, self.clock())
        if known := self._known.get(name):
            token_bytes = loaded.page_bytes // PAGE_SLOTS
            known.measured = Footprint(loaded.weight_bytes, token_bytes, loaded.context_tokens)

    def _need_bytes(self, name: str) -> int:
        known = self._known.get(name)
        if known is None:
            return 0
        dtype: str = known.spec.dtype
        if dtype == "auto":
            device = self._engine.device
            dtype = "float32" if device is None or device.name == "cpu" else "bfloat16"
        return (known.measured or known.estimate(dtype)).least_bytes(known.spec.kv_bytes)

    def _fail_all(self, model: str, error: LingOSError) -> None:
        self.weights.on_gone(model)
        for claim in self.claims.of(model):
            self._fail(claim, error)

    def _fail(self, claim: Claim, error: LingOSError) -> None:
        self.claims.remove(claim.id)
        granted = self._granted[claim.id]
        if not granted.done():  # else its task is cancelled, and about to leave
            granted.set_exception(error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="lingos-weights")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if error := task.exception():
            log.error("the models in memory could not be changed", exc_info=error)
        self.pump()

    def _set_timer(self, now_s: float) -> None:
        self._stop_timer()
        expiry_s = self.weights.next_expiry_s(now_s)
        if expiry_s is not None:
            delay_s = max(expiry_s - now_s, 0.0)
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.pump)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    # What is known

    def residence(self, name: str) -> Residence:
        """A model's state, whether it is in memory or not."""
        weights, now_s = self.weights, self.clock()
        resident = weights.residents.get(name)
        waiting = len(self.claims.of(name))
        state: str = resident.status if resident else "waiting" if waiting else "stored"
        reservation = weights.reservation(name, now_s)
        is_idle = resident is not None and resident.is_idle
        return Residence(
            state="busy" if state == "ready" and not is_idle else state,
            users=len(resident.users) if resident else 0,
            waiting=waiting,
            idle_s=max(now_s - resident.last_used_s, 0.0) if resident and is_idle else 0.0,
            ttl_s=weights.ttl_s.get(name, weights.idle_unload_s),
            pinned=name in weights.pinned,
            reserved=reservation.tenant if reservation else "",
            why=self.claims.reasons.get(name, "") if waiting else "",
        )
