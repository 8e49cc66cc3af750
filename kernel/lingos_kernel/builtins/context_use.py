"""Going on with a context: loaded, reserved, and written back when all went well."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from lingos_kernel.builtins.holds import Hold
from lingos_kernel.builtins.services import Services
from lingos_kernel.engine.messages import SamplingParams
from lingos_kernel.errors import InvalidArguments, UnknownModel
from lingos_kernel.models.store import StoredModel
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.processes.contexts import Conversation, Entry, Head, Loaded, Turn
from lingos_kernel.syscalls.events import Result
from lingos_kernel.syscalls.spec import Context


class Draft(Protocol):
    """What a context is to hold: `Transcript` and `Passage` are drafts."""

    tokens: list[int]
    start: int
    entries: list[Entry]


@dataclass(slots=True)
class ContextUse:
    """A context that its caller alone goes on with."""

    services: Services
    call: Context
    loaded: Loaded
    codec: TextCodec
    hold: Hold | None
    """Its pages, if they are held."""
    tokens: Sequence[int]
    """What it holds now."""
    is_done: bool = False
    turn_key: str = ""
    """Of the turn that a job takes; see `begin`."""

    @property
    def name(self) -> str:
        """The context's."""
        return self.loaded.head.name

    @property
    def model(self) -> str:
        """The name of its model."""
        return self.loaded.head.model

    @property
    def conversation(self) -> Conversation:
        """What it holds."""
        return self.loaded.conversation

    async def begin(self, *asked: Any) -> dict[str, Any] | None:
        """What a job's turn has given before; None when it is yet to be taken.

        A job may be begun again after the context was written and before its own end was: the
        same turn (what was `asked`, and the how-manieth time) then gives the same, and adds
        nothing. Outside of jobs each turn is new.
        """
        process = self.services.processes.get(self.call.pid)
        if not process.job:
            return None
        digest = hashlib.sha256(repr((self.name, asked)).encode()).hexdigest()
        process.turns[digest] += 1
        self.turn_key = f"{process.job}:{digest}:{process.turns[digest]}"
        known = await self.services.contexts.turn(self.loaded.head, self.turn_key)
        return None if known is None else msgspec.json.decode(known, type=dict[str, Any])

    async def write(self, draft: Draft, result: dict[str, Any] | None = None) -> dict[str, Any]:
        """Let the context hold what a draft does; returns its name and length.

        `result` is what the call gives beside that, for a job's turn.
        """
        place = {"name": self.name, "tokens": len(draft.tokens)}
        given = place if result is None else {**result, "context": place}
        head = await self.services.contexts.extend(
            self.loaded,
            self.call.principal,
            start=draft.start,
            tokens=draft.tokens[draft.start :],
            entries=draft.entries,
            turn=Turn(self.turn_key, msgspec.json.encode(given)) if self.turn_key else None,
        )
        self.tokens, self.is_done = draft.tokens, True
        return {"name": head.name, "tokens": head.length}

    async def written(self, item: Any, draft: Draft) -> Any:
        """What a stream yielded; once it is the result, the context holds the draft too."""
        if not isinstance(item, Result):
            return item
        return Result({**item.data, "context": await self.write(draft, item.data)})


@asynccontextmanager
async def use_context(
    services: Services, call: Context, name: str, *, model: str | None = None, hold_s: float = 0.0
) -> AsyncIterator[ContextUse]:
    """Reserve a context of the caller's; `model` is checked to be its own.

    When all went well its pages are held for `hold_s`, or as long as they were to be held before.
    Raises `UnknownContext`, `NotPermitted`, `InvalidArguments`, and `Busy` while another call goes
    on with it.
    """
    head = await services.contexts.head(name, call.principal)
    head.check_writable(call.principal)
    stored = check_model(services, head, model)
    with services.contexts.reserved(head):
        loaded = await services.contexts.load(name, call.principal)
        codec = await services.residency.codec(stored)
        services.processes.get(call.pid).context = name
        holds = services.holds
        hold = holds.of_context(call.principal.tenant, name)
        use = ContextUse(services, call, loaded, codec, hold, loaded.conversation.tokens)
        try:
            yield use
            use.is_done = True
        finally:
            if use.is_done:
                holds.renew_context(call, name, use.model, use.tokens, hold, least_s=hold_s)
            else:  # its pages may have been handed on already
                holds.release(hold)


def check_model(services: Services, head: Head, model: str | None = None) -> StoredModel:
    """The model of a context; raises `InvalidArguments` when `model` is another one."""
    stored = find_model(services, head.name, head.model, head.model_id)
    if model is not None and services.store.resolve(model).id != head.model_id:
        raise InvalidArguments(
            f"the context {head.name} belongs to the model {head.model}, not to {model}",
            hint="leave the model out, or make another context with ctx.create",
        )
    return stored


def find_model(services: Services, name: str, model: str, model_id: str) -> StoredModel:
    """The stored model that the tokens of a context mean something to, or `InvalidArguments`."""
    try:
        stored = services.store.resolve(model)
    except UnknownModel:
        raise InvalidArguments(
            f"the context {name} belongs to the model {model}, which is not stored",
            hint=f"pull it: lingos models pull {model}",
        ) from None
    if stored.id != model_id:
        raise InvalidArguments(
            f"the context {name} was made with another version of the model {model}",
            hint="make another context with ctx.create",
        )
    return stored


def check_single(params: SamplingParams) -> None:
    """Raise unless there is one answer to go on with."""
    if params.n != 1:
        raise InvalidArguments(
            "a context goes on with one answer", hint="leave n out, or fork the context"
        )
