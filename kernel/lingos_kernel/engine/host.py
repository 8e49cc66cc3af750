"""The engine as the kernel's asyncio loop sees it: supervised, and brought back when it dies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from lingos_kernel.engine.inflight import Embedding, Generation, Work
from lingos_kernel.engine.life import EngineLife
from lingos_kernel.engine.messages import (
    Cancel,
    DeviceInfo,
    DropCache,
    Embed,
    Embedded,
    EngineStats,
    Event,
    Failed,
    Fork,
    Generate,
    HoldPages,
    ModelLoaded,
    ModelSpec,
    ModelUnloaded,
    Outputs,
    PagesHeld,
    Pause,
    ReleasePages,
    Resume,
    SamplingParams,
    SequenceOutput,
    SetPolicy,
    SetPriority,
    UnloadModel,
)
from lingos_kernel.engine.supervision import RestartPolicy
from lingos_kernel.engine.totals import Totals
from lingos_kernel.engine.transport import Transport
from lingos_kernel.engine.workload import Workload
from lingos_kernel.errors import (
    InvalidArguments,
    LingOSError,
    ModelInUse,
    UnknownModel,
    UnknownName,
    from_wire,
)

log = logging.getLogger(__name__)

MODEL_PREFIX = "model:"
"""Before the model's name in the request_id of a `Failed` load or unload."""

AnyWork = TypeVar("AnyWork", bound=Work)


class EngineHost:
    """An `Engine` behind a transport; one contract for a process and for a thread.

    When the engine dies it is started again, its models are loaded again, and every request
    goes on after the tokens that its consumer already has. Request ids must not be used again.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        restart: RestartPolicy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        policy = restart or RestartPolicy()
        self._life = EngineLife(transport, self, policy=policy, clock=clock)
        self._workload = Workload(
            suspect_crashes=policy.suspect_crashes, poison_crashes=policy.poison_crashes
        )
        self._clock = clock
        self._unloads: dict[str, asyncio.Future[None]] = {}
        self._unborn: dict[str, Generation] = {}
        """Branches that the engine has not confirmed yet."""
        self._holds: dict[str, asyncio.Future[int]] = {}
        """Not released yet; done once the engine has confirmed them."""
        self._policy: SetPolicy | None = None
        """The policy that was chosen while running; None: that of the settings."""
        self._totals = Totals()

    async def start(self) -> None:
        """Bring the engine up; raises `EngineDied` when it cannot."""
        await self._life.start()

    async def stop(self) -> None:
        """End it; running requests end in `Cancelled`. Safe to call twice."""
        await self._life.stop()
        self._workload.forget_models()

    # What the engine's life brings

    def on_up(self) -> None:
        """An engine is up: hand it the models and requests."""
        if self._policy:
            self._life.send(self._policy)
        self._workload.on_start()
        self._send_waiting()

    def on_crash(self, cause: str) -> None:
        """The engine is gone: everything is to be sent again."""
        self._totals.end_life()
        for name in tuple(self._unloads):
            self._on_unloaded(name)  # what was to be unloaded is gone
        self._unborn.clear()
        self._lose_holds()
        self._workload.on_crash(cause)

    def on_end(self, error: LingOSError) -> None:
        """No engine follows: everything in flight ends in the error."""
        self._totals.end_life()
        self._unborn.clear()
        self._lose_holds()
        self._workload.fail_all(error)
        unloads, self._unloads = self._unloads, {}
        for done in unloads.values():
            done.set_exception(error)

    def on_event(self, event: Event) -> None:
        """Pass on what the engine said."""
        match event:
            case Outputs():
                self._on_outputs(event)
            case EngineStats():
                self._totals.take(event)
            case Embedded():
                self._on_embedded(event)
            case Failed():
                self._on_failed(event)
            case PagesHeld():
                self._on_held(event.hold_id, event.pages)
            case ModelLoaded():
                self._workload.on_loaded(event)
            case ModelUnloaded():
                self._on_unloaded(event.name)
        self._send_waiting()

    def _send_waiting(self) -> None:
        if self._life.is_up and self._workload.has_unsent:
            for command in self._workload.to_send(self._clock()):
                self._life.send(command)

    def _on_outputs(self, event: Outputs) -> None:
        if self._unborn:
            # Before this step's tokens of the parent are taken: the branch left it before them.
            for output in event.outputs:
                if branch := self._unborn.pop(output.request_id, None):
                    branch.branch()
        now_s = self._clock()
        for output in event.outputs:
            if generation := self._workload.generation(output.request_id):
                generation.take(output, now_s)
                if not generation.unfinished:
                    self._workload.remove(output.request_id)

    def _on_embedded(self, event: Embedded) -> None:
        work = self._workload.remove(event.request_id)
        if isinstance(work, Embedding):
            work.take(event)

    def _on_unloaded(self, name: str) -> None:
        self._workload.on_unloaded(name)
        if done := self._unloads.pop(name, None):
            done.set_result(None)

    def _on_held(self, hold_id: str, pages: int) -> None:
        if (held := self._holds.get(hold_id)) and not held.done():
            held.set_result(pages)

    def _lose_holds(self) -> None:
        """The pages are gone with the engine that had them."""
        for hold_id in self._holds:
            self._on_held(hold_id, 0)
        self._holds.clear()

    def _on_failed(self, event: Failed) -> None:
        error = from_wire(event.error)
        name = event.request_id.removeprefix(MODEL_PREFIX)
        if name == event.request_id:
            self._unborn.pop(event.request_id, None)
            self._on_held(event.request_id, 0)
            if work := self._workload.remove(event.request_id):
                work.fail(error)
            elif not event.request_id:
                log.error("the engine refused a policy and goes on as before: %s", error)
        elif done := self._unloads.pop(name, None):
            done.set_exception(error)
        else:
            self._workload.on_load_failed(name, error)

    # Requests

    async def load(self, spec: ModelSpec) -> ModelLoaded:
        """Make a model ready; at once when it already is. Raises `ModelError`, `OutOfMemory`.

        Raises `ModelInUse` when the name is taken by a model loaded with another spec.
        """
        self._life.admit()
        if unloading := self._unloads.get(spec.name):
            await asyncio.wait([unloading])
        present = self._workload.spec(spec.name)
        if present and present != spec:
            raise ModelInUse(
                f"the name {spec.name} is taken by {present.path}, or has other settings",
                hint="unload it first",
            )
        if loaded := self._workload.models.get(spec.name):
            return loaded
        loading = self._workload.load(spec)
        self._send_waiting()
        return await asyncio.shield(loading.done)

    async def unload(self, name: str) -> None:
        """Free an idle model; raises `UnknownModel`, or `ModelInUse` while something uses it.

        Paused requests do not use it: they go on from their tokens once it is loaded again.
        """
        self._life.admit()
        await self._life.wait_until_up()
        if name not in self._workload.models:
            raise UnknownModel(f"the model {name} is not loaded", hint="see the loaded models")
        if self._workload.uses(name):
            raise ModelInUse(f"the model {name} has requests", hint="wait for them, or end them")
        if name not in self._unloads:
            done = asyncio.get_running_loop().create_future()
            done.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._unloads[name] = done
            for request_id in self._workload.withdraw(name):
                self._life.send(Cancel(request_id))
            self._life.send(UnloadModel(name=name))
        await asyncio.shield(self._unloads[name])

    def generate(self, request: Generate) -> AsyncGenerator[SequenceOutput, None]:
        """Stream the outputs of a request until every choice has a finish_reason.

        Closing the generator early cancels the request. Raises any `LingOSError` that the
        request ends in, and `InvalidArguments` for an id that is in flight.
        """
        return self._stream(lambda: self._submit(Generation(request, self._clock())))

    def fork(
        self, request_id: str, new_request_id: str, params: SamplingParams | None = None
    ) -> AsyncGenerator[SequenceOutput, None]:
        """Branch a running request in mid-generation; streams the branch from here on.

        Raises `UnknownName` when no such request is running.
        """
        return self._stream(lambda: self._fork(request_id, new_request_id, params))

    async def embed(self, request: Embed) -> Embedded:
        """The vectors of the inputs; cancelling the awaiting task cancels the request."""
        embedding = self._submit(Embedding(request))
        try:
            return await embedding.done
        finally:
            self._abandon(embedding)

    async def _stream(
        self, begin: Callable[[], Generation]
    ) -> AsyncGenerator[SequenceOutput, None]:
        generation = begin()
        unfinished = set(range(generation.request.params.n))
        try:
            while unfinished:
                output = await generation.mailbox.get()
                if output.finish_reason:
                    unfinished.discard(output.choice)
                yield output
        finally:
            self._abandon(generation)

    def _submit(self, work: AnyWork) -> AnyWork:
        self._life.admit()
        if work.request_id in self._workload:
            raise InvalidArguments(f"the request id {work.request_id} is in flight")
        self._workload.add(work)
        self._send_waiting()
        return work

    def _fork(
        self, request_id: str, new_request_id: str, params: SamplingParams | None
    ) -> Generation:
        parent = self._workload.generation(request_id)
        if not parent or 0 not in parent.unfinished:
            raise UnknownName(f"no request {request_id} is running", hint="it may have ended")
        branch = self._submit(parent.fork(new_request_id, params, self._clock()))
        if branch.is_unborn:
            self._unborn[new_request_id] = branch
            self._life.send(Fork(request_id, new_request_id, params))
        return branch

    def _abandon(self, work: Work) -> None:
        """Have the engine end a request that nobody waits for any more."""
        if self._workload.get(work.request_id) is work:
            self._workload.remove(work.request_id)
            self._unborn.pop(work.request_id, None)
            if work.is_sent:
                self._life.send(Cancel(work.request_id))
            self._send_waiting()

    def set_priority(self, request_id: str, priority: int) -> None:
        """Renice a request or a hold; unknown (finished) ones are ignored."""
        if request_id in self._holds:
            self._life.send(SetPriority(request_id, priority))
        if work := self._workload.get(request_id):
            work.request = replace(work.request, priority=priority)
            if work.is_sent:
                self._life.send(SetPriority(request_id, priority))

    def set_policy(self, name: str, tenant_weights: Mapping[str, float] | None = None) -> None:
        """Schedule by another policy from the next step on, in this life of the engine and all."""
        self._policy = SetPolicy(name, dict(tenant_weights or {}))
        if self._life.is_up:
            self._life.send(self._policy)

    def hold_pages(self, hold: HoldPages) -> asyncio.Future[int]:
        """Keep the pages of a prefix for a while; tells how many, 0 when none can be kept.

        When the engine dies, holds end: what they kept is gone.
        """
        held: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._life.is_up:
            self._on_held(hold.hold_id, 0)  # one of the same id is replaced
            self._holds[hold.hold_id] = held
            self._life.send(hold)
        else:
            held.set_result(0)
        return held

    def release_pages(self, hold_id: str) -> None:
        """End a hold; unknown ones are ignored."""
        if hold_id in self._holds:
            self._on_held(hold_id, 0)
            del self._holds[hold_id]
            self._life.send(ReleasePages(hold_id))

    def drop_cache(self) -> None:
        """Forget the cached pages of all models that nobody uses, wherever they are."""
        if self._life.is_up:
            self._life.send(DropCache())

    def pause(self, request_id: str) -> None:
        """Hold a request at the next token boundary; unknown ones are ignored."""
        self._hold(request_id, True)

    def resume(self, request_id: str) -> None:
        """Let a held request go on; unknown ones are ignored."""
        self._hold(request_id, False)

    def fail(self, request_id: str, error: LingOSError) -> None:
        """End a request in an error; unknown ones are ignored."""
        if work := self._workload.get(request_id):
            self._abandon(work)
            work.fail(error)

    def _hold(self, request_id: str, is_held: bool) -> None:
        work = self._workload.generation(request_id)
        if work and work.is_held != is_held:
            work.is_held = is_held
            if work.is_sent:
                self._life.send(Pause(request_id) if is_held else Resume(request_id))
            self._send_waiting()

    # What is known

    @property
    def models(self) -> dict[str, ModelLoaded]:
        """The models that are ready, by name; while the engine is brought back, those it had."""
        return dict(self._workload.models)

    @property
    def stats(self) -> EngineStats:
        """The newest statistics that the engine sent; totals count since the first start."""
        return self._totals.stats

    @property
    def device(self) -> DeviceInfo | None:
        """The device that the engine runs on; None before it was first ready."""
        return self._life.device

    @property
    def os_pid(self) -> int | None:
        """The pid of the engine's process; None while there is none."""
        return self._life.os_pid

    @property
    def restarts(self) -> int:
        """How often the engine died and was brought back."""
        return self._life.restarts
