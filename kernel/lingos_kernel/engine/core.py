"""The engine: several models, many requests, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from msgspec.structs import replace
from transformers import AttentionInterface, AttentionMaskInterface

from lingos_kernel.engine.attention import PAGED, paged_attention
from lingos_kernel.engine.decoder import Decoder
from lingos_kernel.engine.encoder import Encoder
from lingos_kernel.engine.messages import (
    Cancel,
    Command,
    DeviceInfo,
    DropCache,
    Embed,
    EngineStats,
    Event,
    Failed,
    Fork,
    Generate,
    HoldPages,
    LoadModel,
    ModelUnloaded,
    Pause,
    ReleasePages,
    Resume,
    SetPolicy,
    SetPriority,
    Shutdown,
    UnloadModel,
)
from lingos_kernel.engine.model import LoadedModel, load_model
from lingos_kernel.engine.probe import PROBE, probe_attention, probe_mask
from lingos_kernel.engine.sequence import Request
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.stats import Meter
from lingos_kernel.errors import (
    EngineError,
    InvalidArguments,
    LingOSError,
    ModelInUse,
    OutOfMemory,
    UnknownModel,
    UnknownName,
    to_wire,
)
from lingos_kernel.memory.relief import Shortage
from lingos_kernel.models.loader import describe, free_bytes, resolve_device, total_bytes
from lingos_kernel.scheduling.catalogue import make_policy


class EngineCore:
    """Takes commands, advances by steps, answers with events. Belongs to one thread."""

    def __init__(
        self, settings: EngineSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        AttentionInterface.register(PAGED, paged_attention)
        AttentionInterface.register(PROBE, probe_attention)
        AttentionMaskInterface.register(PROBE, probe_mask)
        # From here on the number is known: passes of few rows use fewer, and torch forgets.
        self._settings = replace(settings, threads=torch.get_num_threads())
        self._clock = clock
        self._torch_device = resolve_device(settings.device)
        self._free_bytes = free_bytes(self._torch_device)
        self._meter = Meter(self._torch_device, clock)
        self._models: dict[str, LoadedModel] = {}
        self._turns: list[tuple[LoadedModel, Decoder | Encoder]] = []

    @property
    def device(self) -> DeviceInfo:
        """Where it computes."""
        return DeviceInfo(
            name=str(self._torch_device),
            description=describe(self._torch_device),
            memory_bytes=total_bytes(self._torch_device),
            free_bytes=self._free_bytes,
        )

    @property
    def models(self) -> dict[str, LoadedModel]:
        """The models that are ready, by name."""
        return self._models

    @property
    def has_work(self) -> bool:
        """Whether a step would advance anything."""
        return any(worker.has_work for _, worker in self._turns)

    def step(self) -> list[Event]:
        """Advance one model that has work, each in turn; the events that this gave."""
        turn = next((turn for turn in self._turns if turn[1].has_work), None)
        if turn is None:
            return []
        self._turns.remove(turn)
        self._turns.append(turn)
        model, worker = turn
        started_s = self._clock()
        try:
            events = worker.step()
        except torch.OutOfMemoryError as error:
            events = self._relieve(worker, error)
        if isinstance(worker, Decoder):
            self._meter.count(worker.last_work, started_s, model)
        if self._meter.is_due or not self.has_work:
            events.append(self._snapshot())
        return events

    def handle(self, command: Command) -> list[Event]:
        """Take a command in; the events that answer it at once. Never raises for a bad one."""
        try:
            events = self._dispatch(command)
        except LingOSError as error:
            return [Failed(request_id=_id_of(command), error=to_wire(error))]
        except Exception as error:  # noqa: BLE001  one bad request must not end the others
            failure = EngineError(f"the engine could not take the request: {error!r}")
            return [Failed(request_id=_id_of(command), error=to_wire(failure))]
        if not self.has_work and not isinstance(command, Embed | Shutdown):
            events.append(self._snapshot())
        return events

    def preempt(self, request_id: str, shortage: Shortage = "pages") -> None:
        """Take the places of a request's sequences, and their pages if those are short.

        They go on later, from the same tokens.
        """
        found = self._find(request_id)
        if found:
            decoder, request = found
            for sequence in [s for s in request.sequences if s.holding]:
                decoder.roster.preempt(sequence, shortage)

    def check_integrity(self) -> None:
        """Assert that every sequence has its place and every page its holders."""
        for model in self._models.values():
            if model.decoder:
                model.decoder.roster.check_integrity()

    def add_model(self, model: LoadedModel) -> None:
        """Serve a model that is in memory."""
        self._models[model.spec.name] = model
        self._turns += [
            (model, worker) for worker in (model.decoder, model.encoder) if worker is not None
        ]

    # Commands

    def _dispatch(self, command: Command) -> list[Event]:
        match command:
            case Generate():
                return self._decoder(command.model).generate(command)
            case Embed():
                self._model(command.model).encoder.add(command)
            case LoadModel():
                return self._load(command)
            case UnloadModel():
                return self._unload(command.name)
            case Fork():
                return self._fork(command)
            case HoldPages() | ReleasePages():
                return self._hold(command)
            case Cancel() | SetPriority() | Pause() | Resume():
                self._steer(command)
            case SetPolicy():
                self._set_policy(command)
            case DropCache() | Shutdown():
                self._let_go(command)
        return []

    def _steer(self, command: Cancel | SetPriority | Pause | Resume) -> None:
        """Act on a request wherever it is; a request that has ended is ignored."""
        found = self._find(command.request_id)
        if found is None:
            self._steer_others(command)
            return
        decoder, request = found
        match command:
            case Cancel():
                decoder.cancel(request)
            case SetPriority():
                decoder.roster.renice(request, command.priority)
            case Pause():
                decoder.roster.pause(request)
            case Resume():
                decoder.roster.resume(request)

    def _steer_others(self, command: Cancel | SetPriority | Pause | Resume) -> None:
        """Act on an embedding or a hold of the id, if there is one."""
        for model in self._models.values():
            if model.decoder and isinstance(command, SetPriority):
                model.decoder.roster.holds.renice(command.request_id, command.priority)
            if isinstance(command, Cancel):
                model.encoder.cancel(command.request_id)
            elif isinstance(command, SetPriority):
                model.encoder.renice(command.request_id, command.priority)

    def _hold(self, command: HoldPages | ReleasePages) -> list[Event]:
        if isinstance(command, HoldPages):
            return self._decoder(command.model).hold(command)
        for model in self._models.values():
            if model.decoder:
                model.decoder.roster.holds.release(command.hold_id)
        return []

    def _let_go(self, command: DropCache | Shutdown) -> None:
        """Forget what is cached, or keep of it what can be kept: no step follows a `Shutdown`."""
        for model in self._models.values():
            if isinstance(command, Shutdown):
                model.close()
            elif model.decoder:
                model.decoder.roster.ledger.drop_cache()

    def _set_policy(self, command: SetPolicy) -> None:
        """For the models that are loaded, and for those to come; raises before any has it."""
        name, weights = command.name, command.tenant_weights
        make_policy(name, weights)
        for model in self._models.values():
            if model.decoder:
                model.decoder.roster.set_policy(make_policy(name, weights))
        self._settings = replace(self._settings, policy=name, tenant_weights=weights)

    def _load(self, command: LoadModel) -> list[Event]:
        spec = command.spec
        if spec.name not in self._models:
            try:
                self.add_model(load_model(spec, self._settings, self._clock))
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise OutOfMemory(
                    f"the device is out of memory, loading {spec.name}: {error}",
                    hint="unload another model, or set engine.memory_bytes lower",
                ) from error
        return [self._models[spec.name].info]

    def _unload(self, name: str) -> list[Event]:
        model = self._model(name)
        if model.is_busy:
            raise ModelInUse(
                f"{name} is at work", hint="wait for its requests, or cancel them (lingos ps, kill)"
            )
        model.close()
        del self._models[name]
        self._turns = [turn for turn in self._turns if turn[0] is not model]
        if model.decoder:
            self._meter.retire(model.decoder)
        if self._torch_device.type == "cuda":
            del model
            torch.cuda.empty_cache()
        return [ModelUnloaded(name)]

    def _fork(self, command: Fork) -> list[Event]:
        found = self._find(command.request_id)
        if found is None:
            raise UnknownName(
                f"no request {command.request_id} is running", hint="it may have ended"
            )
        decoder, request = found
        return decoder.fork(request, command.new_request_id, command.params)

    def _relieve(self, worker: Decoder | Encoder, error: torch.OutOfMemoryError) -> list[Event]:
        """The device is out of memory: make a step smaller, or give up on one request."""
        torch.cuda.empty_cache()
        return worker.relieve(OutOfMemory(f"the device is out of memory: {error}"))

    # Look-ups

    def _snapshot(self) -> EngineStats:
        return self._meter.snapshot(self._models.values(), policy=self._settings.policy)

    def _model(self, name: str) -> LoadedModel:
        if name not in self._models:
            raise UnknownModel(f"{name} is not loaded", hint="load it first (model.load)")
        return self._models[name]

    def _decoder(self, name: str) -> Decoder:
        decoder = self._model(name).decoder
        if decoder is None:
            raise InvalidArguments(
                f"{name} is an encoder: it makes vectors, not text",
                hint="use a causal model (lingos models)",
            )
        return decoder

    def _find(self, request_id: str) -> tuple[Decoder, Request] | None:
        for model in self._models.values():
            if model.decoder and (request := model.decoder.roster.requests.get(request_id)):
                return model.decoder, request
        return None


def _id_of(command: Command) -> str:
    """The request_id of a failure that answers the command."""
    match command:
        case LoadModel():
            return f"model:{command.spec.name}"
        case UnloadModel():
            return f"model:{command.name}"
        case Fork():
            return command.new_request_id
        case HoldPages() | ReleasePages():
            return command.hold_id
        case SetPolicy() | DropCache() | Shutdown():
            return ""
    return command.request_id
