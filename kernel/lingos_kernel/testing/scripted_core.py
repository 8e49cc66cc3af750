"""An engine core that answers by a script: the contract of the real one, without torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from lingos_kernel.engine.messages import (
    Cancel,
    Command,
    DeviceInfo,
    Embed,
    Embedded,
    EngineStats,
    Event,
    Failed,
    Fork,
    Generate,
    HoldPages,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    ModelUnloaded,
    Outputs,
    PagesHeld,
    Pause,
    ReleasePages,
    Resume,
    SequenceOutput,
    SetPolicy,
    SetPriority,
    UnloadModel,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.stat_rows import HoldStats, ModelStats
from lingos_kernel.errors import (
    CorruptModel,
    EmptyPrompt,
    LingOSError,
    ModelInUse,
    PromptTooLong,
    UnknownModel,
    UnknownName,
    to_wire,
)
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.testing.byte_codec import byte_codec
from lingos_kernel.testing.script import Script, echo, reply_to
from lingos_kernel.testing.scripted_sequence import Logprob, ScriptedSequence, even_odds

PAGE_BYTES = 1024
PAGES = 4096
WEIGHT_BYTES = 1_000_000
VECTOR_SIZE = 32


@dataclass(slots=True)
class _Model:
    spec: ModelSpec
    codec: TextCodec
    context_tokens: int


class ScriptedCore:
    """Keeps the contract of the real engine core: one token per running sequence and step.

    Models need no weights: a spec's folder may hold just a tokenizer; an empty path is served
    with `byte_codec`; a folder that does not exist is a `CorruptModel`. Sequences run by
    priority, `settings.max_running` at a time. Statistics come after every step. Seed and
    temperature change nothing. Holds keep all whole pages, and end by command or clock alone.
    """

    def __init__(
        self,
        settings: EngineSettings,
        clock: Callable[[], float] = time.monotonic,
        *,
        script: Script = echo,
        logprob: Logprob = even_odds,
    ) -> None:
        """`logprob(tokens before, token)` scores tokens where a request asks for it."""
        self._settings = settings
        self._clock = clock
        self._script = script
        self._logprob = logprob
        self._models: dict[str, _Model] = {}
        self._sequences: list[ScriptedSequence] = []
        self._embeds: list[Embed] = []
        self._holds: dict[str, tuple[HoldPages, float]] = {}
        """With the time when each ends."""
        self._stats = EngineStats(step=0, time_s=clock())
        self._prompt_tokens = 0
        self.device = DeviceInfo("cpu", "scripted", PAGES * PAGE_BYTES)

    @property
    def has_work(self) -> bool:
        """Whether a step would advance anything."""
        return bool(self._embeds) or any(not s.is_paused for s in self._sequences)

    def handle(self, command: Command) -> list[Event]:
        """Take a command in; the events that answer it at once."""
        try:
            return self._handle(command)
        except LingOSError as error:
            return [Failed(_failed_id(command), to_wire(error))]

    def _handle(self, command: Command) -> list[Event]:
        match command:
            case LoadModel(spec):
                return [self._load(spec)]
            case UnloadModel(name):
                return [self._unload(name)]
            case Generate():
                self._add(command)
            case Embed():
                self._model(command.model)
                self._embeds.append(command)
            case Fork():
                return [Outputs(self._fork(command))]
            case Cancel():
                self._sequences = [s for s in self._sequences if s.request_id != command.request_id]
                self._embeds = [e for e in self._embeds if e.request_id != command.request_id]
                return [self._measure(0)]
            case SetPolicy(name):
                self._settings = replace(self._settings, policy=name)
                return [self._measure(0)]
            case SetPriority() | Pause() | Resume():
                self._adjust(command)
            case HoldPages() | ReleasePages():
                return self._hold(command)
        return []

    def _hold(self, command: HoldPages | ReleasePages) -> list[Event]:
        if isinstance(command, ReleasePages):
            self._holds.pop(command.hold_id, None)
            return [self._measure(0)]
        self._model(command.model)
        self._holds[command.hold_id] = command, self._clock() + command.for_s
        pages = len(command.tokens) // self._settings.page_size
        return [PagesHeld(command.hold_id, pages), self._measure(0)]

    def _adjust(self, command: SetPriority | Pause | Resume) -> None:
        held = self._holds.get(command.request_id)
        if held and isinstance(command, SetPriority):
            self._holds[command.request_id] = replace(held[0], priority=command.priority), held[1]
        for sequence in self._of(command.request_id):
            if isinstance(command, SetPriority):
                sequence.priority = command.priority
            else:
                sequence.is_paused = isinstance(command, Pause)

    def _load(self, spec: ModelSpec) -> ModelLoaded:
        if spec.path and not Path(spec.path).is_dir():
            raise CorruptModel(f"{spec.path} is no folder", hint="pull the model again")
        has_tokenizer = spec.path and (Path(spec.path) / "tokenizer.json").is_file()
        codec = TextCodec.load(Path(spec.path)) if has_tokenizer else byte_codec()
        context = spec.context_tokens or codec.context_tokens or 4096
        self._models[spec.name] = _Model(spec, codec, context)
        return ModelLoaded(
            name=spec.name,
            kind=spec.kind,
            architecture="Scripted",
            dtype="float32",
            parameters=WEIGHT_BYTES // 4,
            weight_bytes=WEIGHT_BYTES,
            kv_bytes=PAGES * PAGE_BYTES,
            page_bytes=PAGE_BYTES,
            pages=PAGES,
            context_tokens=context,
            vocabulary=codec.vocabulary,
            hidden_size=VECTOR_SIZE,
            load_s=0.0,
            weight_format=spec.weight_format,
            kv_format=spec.kv_format,
        )

    def _unload(self, name: str) -> ModelUnloaded:
        self._model(name)
        if any(s.model == name for s in self._sequences):
            raise ModelInUse(f"the model {name} has requests", hint="wait for them, or end them")
        del self._models[name]
        return ModelUnloaded(name)

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            raise UnknownModel(f"the model {name} is not loaded", hint="load it first")
        return self._models[name]

    def _add(self, request: Generate) -> None:
        model = self._model(request.model)
        self._holds.pop(request.hold_id, None)
        if not request.prompt_ids:
            raise EmptyPrompt("the prompt is empty", hint="say something")
        if len(request.prompt_ids) >= model.context_tokens:
            raise PromptTooLong(
                f"the prompt has {len(request.prompt_ids)} tokens, "
                f"{request.model} takes {model.context_tokens - 1}",
                hint="shorten it",
            )
        reply = self._reply(model.codec, request)
        self._prompt_tokens += len(request.prompt_ids)
        for choice in range(request.params.n):
            sequence = ScriptedSequence(
                request,
                choice,
                model.codec,
                reply=reply,
                room=model.context_tokens - len(request.prompt_ids),
                logprob=self._logprob,
                now_s=self._clock(),
            )
            self._sequences.append(sequence)

    def _reply(self, codec: TextCodec, request: Generate) -> list[int]:
        text = codec.decode(request.prompt_ids, skip_special=False)
        reply = reply_to(self._script, request, text)
        if isinstance(reply, Exception):
            raise reply
        return codec.encode(reply)

    def _fork(self, command: Fork) -> tuple[SequenceOutput, ...]:
        """Branch a sequence; the empty outputs tell where the branch begins."""
        parent = next((s for s in self._of(command.request_id) if s.choice == 0), None)
        if not parent:
            raise UnknownName(f"no request {command.request_id} is running")
        branches = parent.fork(command.new_request_id, command.params, self._clock())
        self._sequences += branches
        return tuple(SequenceOutput(branch.request_id, branch.choice) for branch in branches)

    def _of(self, request_id: str) -> list[ScriptedSequence]:
        return [s for s in self._sequences if s.request_id == request_id]

    def step(self) -> list[Event]:
        """Answer embeds, and give each sequence of the batch one token."""
        events: list[Event] = [_embedded(embed) for embed in self._embeds]
        self._embeds.clear()
        active = [s for s in self._sequences if not s.is_paused]
        ranked = sorted(active, key=lambda s: (s.priority, s.arrived_s))
        batch = ranked[: self._settings.max_running]
        for sequence in active:
            sequence.set_running(sequence in batch)
        outputs = [sequence.advance(self._clock()) for sequence in batch]
        self._sequences = [s for s in self._sequences if not s.is_finished]
        if outputs:
            events.append(Outputs(tuple(outputs)))
        events.append(self._measure(sum(len(output.token_ids) for output in outputs)))
        return events

    def _measure(self, new_tokens: int) -> EngineStats:
        waiting = 0
        rows = []
        for sequence in sorted(self._sequences, key=lambda s: (s.priority, s.arrived_s)):
            row = sequence.stats(waiting, self._clock(), PAGE_BYTES, self._settings.page_size)
            waiting += row.queue_position is not None
            rows.append(row)
        models = []
        for name in self._models:
            mine = [row for row in rows if row.model == name]
            used = sum(row.pages for row in mine)
            running = sum(row.state == "decode" for row in mine)
            models.append(
                ModelStats(
                    name=name,
                    weight_bytes=WEIGHT_BYTES,
                    page_bytes=PAGE_BYTES,
                    pages_total=PAGES,
                    pages_used=used,
                    pages_cached=0,
                    pages_free=PAGES - used,
                    running=running,
                    waiting=len(mine) - running,
                )
            )
        self._stats = EngineStats(
            step=self._stats.step + 1,
            time_s=self._clock(),
            policy=self._settings.policy,
            models=tuple(models),
            sequences=tuple(rows),
            holds=tuple(self._hold_rows()),
            prompt_tokens_total=self._prompt_tokens,
            output_tokens_total=self._stats.output_tokens_total + new_tokens,
        )
        return self._stats

    def _hold_rows(self) -> list[HoldStats]:
        now_s = self._clock()
        self._holds = {key: held for key, held in self._holds.items() if held[1] > now_s}
        return [
            HoldStats(
                hold_id=hold.hold_id,
                pid=hold.pid,
                model=hold.model,
                tenant=hold.tenant,
                priority=hold.priority,
                why=hold.why,
                pages=len(hold.tokens) // self._settings.page_size,
                left_s=until_s - now_s,
            )
            for hold, until_s in self._holds.values()
        ]


def _embedded(embed: Embed) -> Embedded:
    vectors = tuple(_vector(ids, embed.normalize) for ids in embed.inputs)
    return Embedded(embed.request_id, vectors, sum(map(len, embed.inputs)))


def _vector(ids: Sequence[int], normalize: bool) -> tuple[float, ...]:
    """Counts of tokens, so that texts with the same characters are near each other."""
    counts = [0.0] * VECTOR_SIZE
    for id_ in ids:
        counts[id_ % VECTOR_SIZE] += 1.0
    length = math.hypot(*counts) if normalize else 1.0
    return tuple(count / (length or 1.0) for count in counts)


def _failed_id(command: Command) -> str:
    match command:
        case LoadModel(spec):
            return f"model:{spec.name}"
        case UnloadModel(name):
            return f"model:{name}"
        case Fork():
            return command.new_request_id
        case Generate() | Embed():
            return command.request_id
        case HoldPages():
            return command.hold_id
    raise TypeError(f"{command} cannot fail")
