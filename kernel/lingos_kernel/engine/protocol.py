"""The engine as the kernel sees it, whatever runs behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Mapping
from typing import Protocol

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
from lingos_kernel.errors import LingOSError


class Engine(Protocol):
    """Turns token sequences into token streams and vectors.

    All methods belong to one asyncio loop. Implementations: the supervised process, the
    in-process thread, the scripted fake of `lingos_kernel.testing`, and driver plugins; one
    contract suite runs on all of them.
    """

    async def start(self) -> None:
        """Bring the engine up; raises `EngineDied` when it cannot."""

    async def stop(self) -> None:
        """End it; running requests end in `Cancelled`. Safe to call twice."""

    async def load(self, spec: ModelSpec) -> ModelLoaded:
        """Make a model ready; at once when it already is. Raises `ModelError`, `OutOfMemory`."""

    async def unload(self, name: str) -> None:
        """Free an idle model; raises `UnknownModel`, or `ModelInUse` while something uses it.

        Paused requests do not use it: they go on from their tokens once it is loaded again.
        """

    def generate(self, request: Generate) -> AsyncGenerator[SequenceOutput, None]:
        """Stream the outputs of a request until every choice has a finish_reason.

        Closing the generator early cancels the request and frees its pages within one step.
        Raises any `LingOSError` that the request ends in.
        """

    async def embed(self, request: Embed) -> Embedded:
        """The vectors of the inputs; cancelling the awaiting task cancels the request."""

    def fork(
        self, request_id: str, new_request_id: str, params: SamplingParams | None = None
    ) -> AsyncGenerator[SequenceOutput, None]:
        """Branch a running request in mid-generation; streams the branch from here on."""

    def set_priority(self, request_id: str, priority: int) -> None:
        """Renice a request or a hold; unknown (finished) ones are ignored."""

    def set_policy(self, name: str, tenant_weights: Mapping[str, float] | None = None) -> None:
        """Schedule by another policy from the next step on; `name` as `EngineSettings.policy`.

        The name is to be one that `make_policy` takes. Nothing that waits or runs is lost.
        """

    def hold_pages(self, hold: HoldPages) -> Awaitable[int]:
        """Keep the cached pages of a prefix for a while; tells how many pages that are.

        The command is sent at once, whether or not the answer is awaited. Ends by itself, or as
        memory is short for more urgent work, or with the engine.
        """

    def release_pages(self, hold_id: str) -> None:
        """End a hold; unknown ones are ignored."""

    def drop_cache(self) -> None:
        """Forget the cached pages of all models that nobody uses, wherever they are."""

    def pause(self, request_id: str) -> None:
        """Hold a request at the next token boundary; unknown ones are ignored."""

    def resume(self, request_id: str) -> None:
        """Let a held request go on; unknown ones are ignored. Its model is to be loaded."""

    def fail(self, request_id: str, error: LingOSError) -> None:
        """End a request in an error; unknown ones are ignored."""

    @property
    def models(self) -> dict[str, ModelLoaded]:
        """The models that are ready, by name."""

    @property
    def stats(self) -> EngineStats:
        """The newest statistics that the engine sent."""

    @property
    def device(self) -> DeviceInfo | None:
        """What the engine runs on; None before start."""

    @property
    def os_pid(self) -> int | None:
        """The pid of the engine's process; None before start."""

    @property
    def restarts(self) -> int:
        """How often the engine died and was brought back."""
