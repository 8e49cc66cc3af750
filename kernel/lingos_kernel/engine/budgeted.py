"""An engine whose models share one memory budget: loaded when asked for, unloaded when in the way.

A request brings its model: it waits here until the model is in memory, then it goes to the engine
and uses the model until it ends. Between two requests of a conversation the model is free to go:
so a request that waits for another model, even from within a tool call, cannot block itself. A
request that is stopped uses nothing: others may have the room, and it asks for its model again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

from msgspec.structs import replace

from lingos_kernel.engine.messages import (
    DeviceInfo,
    Embed,
    Embedded,
    EngineStats,
    Generate,
    HoldPages,
    ModelLoaded,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
)
from lingos_kernel.engine.protocol import Engine
from lingos_kernel.engine.waiting_rows import with_absent, with_waited
from lingos_kernel.engine.weights_keeper import Estimate, WeightsKeeper
from lingos_kernel.errors import InvalidArguments, LingOSError, UnknownName
from lingos_kernel.memory.footprint import Footprint


class BudgetedEngine:
    """An `Engine` around another one. What is asked of it before `start` goes to that as it is."""

    def __init__(
        self,
        engine: Engine,
        *,
        memory_bytes: int = 0,
        idle_unload_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`memory_bytes` 0: a share of the device. `idle_unload_s` 0: idle models stay."""
        self.inner = engine
        self.keeper = WeightsKeeper(
            engine, memory_bytes=memory_bytes, idle_unload_s=idle_unload_s, clock=clock
        )
        self._clock = clock
        self._requests: dict[str, Generate | Embed] = {}
        """Those that wait for their model, or use it."""
        self._returns: dict[str, asyncio.Task[None]] = {}
        """Requests that were stopped while their model left, and now want it again."""
        self._loads = count()
        self._is_started = False
        self._said: Counter[str] = Counter()  # tokens of requests under way

    async def start(self) -> None:
        """Bring the engine up; raises `EngineDied` when it cannot."""
        self._is_started = True
        await self.inner.start()
        self.keeper.pump()

    async def stop(self) -> None:
        """End it; requests that wait or run end in `Cancelled`. Safe to call twice."""
        self._is_started = False
        returns = tuple(self._returns.values())
        for task in returns:
            task.cancel()
        await asyncio.gather(*returns, return_exceptions=True)
        self._returns.clear()
        await self.keeper.stop()
        await self.inner.stop()

    # Models

    def introduce(self, spec: ModelSpec, estimate: Estimate | None = None) -> None:
        """Know a model, so that the first request for it loads it.

        `estimate` tells what it will take. Raises `ModelInUse` when the name is taken.
        """
        self.keeper.introduce(spec, estimate or _unknown)

    async def load(self, spec: ModelSpec, *, tenant: str = "") -> ModelLoaded:
        """Make a model ready, once there is room for it; at once when it already is.

        `tenant`: whose reserved memory it may take. Raises `ModelError`, and `OutOfMemory` with
        the sums when there can be no room.
        """
        if not self._is_started:
            return await self.inner.load(spec)
        await self._up()
        if not self.keeper.knows(spec.name):
            self.introduce(spec)
        user = f"load:{next(self._loads)}"
        await self.keeper.acquire(user, spec.name, tenant=tenant, priority=0)
        loaded = self.inner.models[spec.name]
        self.keeper.release(user, spec.name)
        return loaded

    async def unload(self, name: str) -> None:
        """Free an idle model; raises `UnknownModel`, or `ModelInUse` while something uses it."""
        await self.keeper.unload(name)

    # Requests

    async def generate(self, request: Generate) -> AsyncGenerator[SequenceOutput, None]:
        """Stream the outputs of a request until every choice has a finish_reason.

        Its place, priority and time limits count from here on. Closing the generator early
        cancels the request. Raises any `LingOSError` that the request ends in.
        """
        async with self._using(request) as waited_s:
            request = self._now(request, waited_s)
            stream = self.inner.generate(request)
            try:
                async for output in stream:
                    self._said[request.request_id] += len(output.token_ids)
                    yield with_waited(output, waited_s) if waited_s else output
            finally:
                del self._said[request.request_id]
                await stream.aclose()

    async def embed(self, request: Embed) -> Embedded:
        """The vectors of the inputs; cancelling the awaiting task cancels the request."""
        async with self._using(request):
            now = self._requests[request.request_id]
            assert isinstance(now, Embed)
            return await self.inner.embed(now)

    async def fork(
        self, request_id: str, new_request_id: str, params: SamplingParams | None = None
    ) -> AsyncGenerator[SequenceOutput, None]:
        """Branch a running request in mid-generation; streams the branch from here on.

        Raises `UnknownName` when no such request is running. If it was stopped and its model has
        left, the branch brings that back.
        """
        parent = self._requests.get(request_id)
        if parent is None or request_id in self.keeper.claims:
            raise UnknownName(f"no request {request_id} is running", hint="it may have ended")
        branch = replace(parent, request_id=new_request_id)
        if isinstance(branch, Generate):
            branch = replace(branch, is_paused=False)
        async with self._using(branch, is_branch=True):
            stream = self.inner.fork(request_id, new_request_id, params)
            try:
                async for output in stream:
                    self._said[new_request_id] += len(output.token_ids)
                    yield output
            finally:
                del self._said[new_request_id]
                await stream.aclose()

    def set_priority(self, request_id: str, priority: int) -> None:
        """Renice; unknown (finished) requests are ignored."""
        if request := self._requests.get(request_id):
            self._requests[request_id] = replace(request, priority=priority)
        if claim := self.keeper.claims.get(request_id):
            claim.priority = priority
            self.keeper.pump()
        self.inner.set_priority(request_id, priority)

    def set_policy(self, name: str, tenant_weights: Mapping[str, float] | None = None) -> None:
        """Schedule by another policy from the next step on."""
        self.inner.set_policy(name, tenant_weights)

    def hold_pages(self, hold: HoldPages) -> Awaitable[int]:
        """Keep the pages of a prefix for a while; they go with the model, should that go."""
        return self.inner.hold_pages(hold)

    def release_pages(self, hold_id: str) -> None:
        """End a hold; unknown ones are ignored."""
        self.inner.release_pages(hold_id)

    def drop_cache(self) -> None:
        """Forget the cached pages of all models that nobody uses, wherever they are."""
        self.inner.drop_cache()

    def pause(self, request_id: str) -> None:
        """Hold a request; one that waits for its model keeps its place and lets others go first."""
        self._hold(request_id, True)

    def resume(self, request_id: str) -> None:
        """Let a held request go on; unknown ones are ignored."""
        self._hold(request_id, False)

    def fail(self, request_id: str, error: LingOSError) -> None:
        """End a request that the engine has in an error; unknown ones are ignored."""
        self.inner.fail(request_id, error)

    def _hold(self, request_id: str, is_held: bool) -> None:
        request = self._requests.get(request_id)
        if claim := self.keeper.claims.get(request_id):
            claim.is_held = is_held
            self.keeper.pump()
        if not isinstance(request, Generate) or request.is_paused == is_held:
            return
        # One that has its model, but did not reach the engine yet, takes it along.
        request = self._requests[request_id] = replace(request, is_paused=is_held)
        if claim or request_id in self._returns:
            return  # it goes on when it has its model
        if is_held:
            self.inner.pause(request_id)
            self.keeper.hold(request_id, request.model, is_held=True)
        elif self.keeper.weights.is_used_by(request.model, request_id):
            self.keeper.hold(request_id, request.model, is_held=False)
            self.inner.resume(request_id)
        else:
            self._returns[request_id] = asyncio.create_task(self._return(request))

    async def _return(self, request: Generate) -> None:
        """Have a request go on whose model left while it was stopped."""
        request_id, model = request.request_id, request.model
        try:
            await self.keeper.acquire(
                request_id, model, tenant=request.tenant, priority=request.priority
            )
        except LingOSError as error:
            self.inner.fail(request_id, error)
        else:
            if self._is_stopped(request_id):  # once more, since it was granted
                self.keeper.hold(request_id, model, is_held=True)
            else:
                self.inner.resume(request_id)
        finally:
            self._returns.pop(request_id, None)

    def _is_stopped(self, request_id: str) -> bool:
        request = self._requests.get(request_id)
        return isinstance(request, Generate) and request.is_paused

    @asynccontextmanager
    async def _using(
        self, request: Generate | Embed, *, is_branch: bool = False
    ) -> AsyncIterator[float]:
        """While the block runs the request's model is in memory, save while it is stopped.

        Gives the seconds it waited. A branch goes at once, past all who wait, if it can.
        """
        request_id, model = request.request_id, request.model
        began_s = self._clock()
        await self._up()
        self._check_new(request_id)
        self._requests[request_id] = request
        try:
            if not (is_branch and self.keeper.join(request_id, model)):
                await self.keeper.acquire(
                    request_id,
                    model,
                    tenant=request.tenant,
                    priority=request.priority,
                    is_held=self._is_stopped(request_id),
                )
            try:
                yield self._clock() - began_s
            finally:
                if returning := self._returns.pop(request_id, None):
                    returning.cancel()
                self.keeper.release(request_id, model)
        finally:
            del self._requests[request_id]

    async def _up(self) -> None:
        """Wait until the device is known: what fits depends on it."""
        if self._is_started and self.inner.device is None:
            await self.inner.start()

    def _check_new(self, request_id: str) -> None:
        if request_id in self._requests:
            raise InvalidArguments(f"the request id {request_id} is in flight")

    def _now(self, request: Generate, waited_s: float) -> Generate:
        """The request as it is after the wait."""
        latest = self._requests[request.request_id]
        assert isinstance(latest, Generate)
        if request.request_id in self._returns:
            latest = replace(latest, is_paused=True)  # until it has its model again
        if latest.deadline_s is None:
            return latest
        return replace(latest, deadline_s=latest.deadline_s - waited_s)

    # What is known

    @property
    def models(self) -> dict[str, ModelLoaded]:
        """The models that are ready, by name."""
        return self.inner.models

    @property
    def stats(self) -> EngineStats:
        """The newest statistics, with the requests that the engine does not have."""
        return with_absent(
            self.inner.stats, self._requests, self.keeper.claims, self._said, now_s=self._clock()
        )

    @property
    def device(self) -> DeviceInfo | None:
        """What the engine runs on; None before start."""
        return self.inner.device

    @property
    def os_pid(self) -> int | None:
        """The pid of the engine's process; None before start."""
        return self.inner.os_pid

    @property
    def restarts(self) -> int:
        """How often the engine died and was brought back."""
        return self.inner.restarts


def _unknown(dtype: str) -> Footprint:  # noqa: ARG001 - as `Estimate` has it
    """Of a model about which nothing was told; the engine will find out."""
    return Footprint(0, 0, 0)
