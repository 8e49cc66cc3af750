"""All the work that an engine has or will get, and what of it to send when: pure decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lingos_kernel.engine.inflight import Generation, Loading, Work
from lingos_kernel.engine.messages import Command, LoadModel, ModelLoaded, ModelSpec
from lingos_kernel.errors import EngineError, LingOSError


class Workload:
    """Models and requests, over all lives of an engine.

    A request is sent once its model is loaded. A request that was in flight in several crashes
    is a suspect: it is sent alone, before all others, until it makes progress, so that the one
    that brings the engine down is found and fails alone.
    """

    def __init__(self, *, suspect_crashes: int, poison_crashes: int) -> None:
        """`suspect_crashes` in a row make a request a suspect, `poison_crashes` fail it."""
        self._suspect_crashes = suspect_crashes
        self._poison_crashes = poison_crashes
        self._specs: dict[str, ModelSpec] = {}
        self._loads: dict[str, Loading] = {}
        self._work: dict[str, Work] = {}
        self.models: dict[str, ModelLoaded] = {}
        self.has_unsent = False
        """Whether progress or an end of something may let something else be sent."""

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._work

    def get(self, request_id: str) -> Work | None:
        """The request, while it is in flight."""
        return self._work.get(request_id)

    def generation(self, request_id: str) -> Generation | None:
        """The request, if it is in flight and generates."""
        work = self._work.get(request_id)
        return work if isinstance(work, Generation) else None

    def uses(self, model: str) -> bool:
        """Whether a request in flight uses the model; one that is paused can do without."""
        return any(work.model == model and not work.is_held for work in self._work.values())

    def withdraw(self, model: str) -> list[str]:
        """Paused requests of a model that is to leave, for the engine to forget.

        They are sent again, with the tokens they have, when they go on.
        """
        sent = [work for work in self._work.values() if work.model == model and work.is_sent]
        _set_sent(sent, False)
        return [work.request_id for work in sent]

    def spec(self, model: str) -> ModelSpec | None:
        """How a model that is ready, or about to be, was asked for."""
        loading = self._loads.get(model)
        return loading.spec if loading else self._specs.get(model)

    def add(self, work: Work) -> None:
        """Take in a request, to be sent with the next `to_send`, or later if it must wait."""
        self._work[work.request_id] = work
        self.has_unsent |= not work.is_sent

    def remove(self, request_id: str) -> Work | None:
        """Forget a request that ended or was cancelled."""
        return self._work.pop(request_id, None)

    def load(self, spec: ModelSpec) -> Loading:
        """Have a model loaded; the load in flight if there is one."""
        self.has_unsent = True
        return self._loads.setdefault(spec.name, Loading(spec))

    def on_loaded(self, loaded: ModelLoaded) -> None:
        """A model is ready; its requests may go."""
        if loading := self._loads.pop(loaded.name, None):
            self._specs[loaded.name] = loading.spec
            self.models[loaded.name] = loaded
            loading.succeed(loaded)

    def on_load_failed(self, name: str, error: LingOSError) -> None:
        """A model cannot be loaded, or not again: its requests end in the same error.

        Paused ones do not: the model may be there when they go on.
        """
        if loading := self._loads.pop(name, None):
            loading.fail(error)
        self.on_unloaded(name)
        for work in [w for w in self._work.values() if w.model == name and not w.is_held]:
            self._fail(work, error)

    def on_unloaded(self, name: str) -> None:
        """A model is gone."""
        self._specs.pop(name, None)
        self.models.pop(name, None)

    def forget_models(self) -> None:
        """No model is to be loaded in the next life."""
        self._specs.clear()
        self.models.clear()

    def on_start(self) -> None:
        """A new engine is up, and knows nothing: all models are to be loaded."""
        for spec in self._specs.values():
            self.load(spec)
        self.has_unsent = True

    def to_send(self, now_s: float) -> list[Command]:
        """What the engine may get now; counts as sent from here on."""
        loads = [load for load in self._loads.values() if not load.is_sent]
        unsent = [work for work in self._candidates() if not work.is_sent]
        ready = [work for work in unsent if not work.is_held and work.model not in self._loads]
        commands: list[Command] = [LoadModel(spec=load.spec) for load in loads]
        commands += [work.command(now_s) for work in ready]
        _set_sent([*loads, *ready], True)
        self.has_unsent = any(not work.is_sent for work in self._work.values())
        return commands

    def _candidates(self) -> Iterable[Work]:
        for work in self._work.values():
            if work.crashes >= self._suspect_crashes and not work.is_held:
                return (work,)
        return self._work.values()

    def on_crash(self, cause: str) -> None:
        """The engine is gone. What it was at work on too often fails; the rest is to be resent."""
        loading = next((load for load in self._loads.values() if load.is_sent), None)
        working = [work for work in self._work.values() if work.is_sent and not work.is_held]
        # Commands are handled in order and before the next step: an unanswered load was at work.
        for item in [loading] if loading else working:
            item.crashes += 1
        if loading and loading.crashes >= self._poison_crashes:
            self.on_load_failed(
                loading.spec.name, self._poison(f"loading {loading.spec.name}", cause)
            )
        for work in working:
            if work.crashes >= self._poison_crashes:
                self._fail(work, self._poison(f"request {work.request_id}", cause))
        _set_sent([*self._loads.values(), *self._work.values()], False)

    def _poison(self, what: str, cause: str) -> EngineError:
        return EngineError(
            f"{what} was at work in {self._poison_crashes} crashes of the engine in a row; "
            f"the last time it {cause}",
            hint="read the engine's log; try less context, or another model",
        )

    def fail_all(self, error: LingOSError) -> None:
        """End every request and load in an error."""
        for loading in self._loads.values():
            loading.fail(error)
        self._loads.clear()
        for work in list(self._work.values()):
            self._fail(work, error)

    def _fail(self, work: Work, error: LingOSError) -> None:
        del self._work[work.request_id]
        work.fail(error)


def _set_sent(items: Iterable[Any], is_sent: bool) -> None:
    for item in items:
        item.is_sent = is_sent
