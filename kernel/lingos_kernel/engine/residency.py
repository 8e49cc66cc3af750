"""Models for requests: found in the store, pulled when they are defaults, loaded when used."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from lingos_kernel.config import Config
from lingos_kernel.engine.budgeted import BudgetedEngine
from lingos_kernel.engine.messages import KvFormat, ModelLoaded, ModelSpec, WeightFormat
from lingos_kernel.errors import InvalidArguments, ModelInUse, UnknownModel
from lingos_kernel.memory.footprint import Footprint, estimate
from lingos_kernel.models.description import read_json_object
from lingos_kernel.models.lookup import ModelLookup
from lingos_kernel.models.progress import PullProgress
from lingos_kernel.models.store import ModelStore, StoredModel
from lingos_kernel.models.text_codec import TextCodec

OnProgress = Callable[[PullProgress], None]


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that requests may name, with its tokenizer; the first request loads it."""

    stored: StoredModel
    codec: TextCodec

    @property
    def name(self) -> str:
        """The name that engine requests use."""
        return self.stored.name


@dataclass(frozen=True, slots=True)
class Formats:
    """What a model's weights, keys and values are kept in."""

    weights: WeightFormat = "native"
    kv: KvFormat = "native"


class _Pull:
    """One download that several callers may wait for; it stops when the last of them leaves."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.listeners: list[OnProgress] = []
        self.waiters = 0
        self.task: asyncio.Task[StoredModel] | None = None

    def tell(self, progress: PullProgress) -> None:
        for listener in tuple(self.listeners):
            listener(progress)


class Residency:
    """Makes models known to the engine; concurrent pulls of one model share the work."""

    def __init__(self, engine: BudgetedEngine, store: ModelStore, config: Config) -> None:
        self._engine = engine
        self._store = store
        self._config = config
        self._codecs: dict[str, TextCodec] = {}
        self._lookup = ModelLookup(self._store)
        self._reading: dict[str, asyncio.Lock] = {}
        self._formats: dict[str, Formats] = {}
        self._pulls: dict[str, _Pull] = {}

    async def ensure(
        self, name: str | None, *, kind: str = "causal", on_progress: OnProgress | None = None
    ) -> Resident:
        """The model, for requests to name; None means the configured default of the kind.

        The first request that names it brings it into memory, once there is room.
        Pulls the model when it is a catalogue name that is not stored yet. Raises `UnknownModel`,
        `ModelError`, or `InvalidArguments` when the model is of another kind.
        """
        stored = await self.find(name, kind=kind, on_progress=on_progress)
        if kind == "causal" and stored.kind != "causal":
            raise InvalidArguments(
                f"{stored.name} is an {stored.kind}: it makes vectors, not text",
                hint="use it with llm.embed, or choose a causal model (lingos models)",
            )
        codec = await self.codec(stored)
        self._introduce(stored)
        return Resident(stored, codec)

    async def load(
        self, stored: StoredModel, formats: Formats | None = None, *, tenant: str = ""
    ) -> ModelLoaded:
        """Bring a model into memory before a request does, once there is room.

        `formats`: other ones than are configured, for this model until the kernel ends.
        `tenant`: whose reserved memory it may take. Raises `ModelInUse` when it is in memory in
        other formats, `InvalidArguments` for those of an encoder.
        """
        if stored.kind != "causal" and formats not in (None, Formats()):
            raise InvalidArguments(
                f"{stored.name} is an {stored.kind}: its weights stay native",
                hint="leave the formats out",
            )
        before = self.formats(stored)
        self._formats[stored.name] = formats or before
        try:
            self._introduce(stored)
        except ModelInUse:
            self._formats[stored.name] = before
            raise
        return await self._engine.load(self.spec(stored), tenant=tenant)

    def formats(self, stored: StoredModel) -> Formats:
        """The formats that a model is kept in, or would be; encoders stay native."""
        if stored.kind != "causal":
            return Formats()
        engine = self._config.engine
        configured = Formats(engine.weight_format, engine.kv_format)
        return self._formats.get(stored.name, configured)

    async def find(
        self, name: str | None, *, kind: str = "causal", on_progress: OnProgress | None = None
    ) -> StoredModel:
        """The stored model; a default that is missing is pulled first."""
        models = self._config.models
        wanted = name or (models.default if kind == "causal" else models.embedder)
        try:
            return self._lookup.resolve(wanted)
        except UnknownModel:
            if wanted not in self._store.catalogue:
                raise
        return await self.pull(wanted, on_progress=on_progress)

    async def pull(
        self, source: str, *, alias: str | None = None, on_progress: OnProgress | None = None
    ) -> StoredModel:
        """Pull a model; callers that ask for the same source share one download.

        Cancelling one caller leaves the others; the last one to leave stops the download.
        """
        key = f"{source}\0{alias or ''}"
        pull = self._pulls.setdefault(key, _Pull())
        if pull.task is None:
            pull.task = asyncio.create_task(self._run_pull(source, alias, pull))
            pull.task.add_done_callback(lambda task: self._forget(key, pull, task))
        if on_progress:
            pull.listeners.append(on_progress)
        pull.waiters += 1
        try:
            return await asyncio.shield(pull.task)
        finally:
            pull.waiters -= 1
            if on_progress:
                pull.listeners.remove(on_progress)
            if pull.waiters == 0:
                pull.cancelled.set()
                self._forget(key, pull, pull.task)

    def _forget(self, key: str, pull: _Pull, task: asyncio.Task[StoredModel]) -> None:
        """Nobody shares this pull from now on; how it ended is told to those who still wait."""
        if self._pulls.get(key) is pull:
            del self._pulls[key]
        if task.done() and not task.cancelled():
            task.exception()  # asked for here: there may be nobody else who does

    async def _run_pull(self, source: str, alias: str | None, pull: _Pull) -> StoredModel:
        loop = asyncio.get_running_loop()

        def tell(progress: PullProgress) -> None:
            loop.call_soon_threadsafe(pull.tell, progress)

        return await asyncio.to_thread(
            self._store.pull, source, alias=alias, progress=tell, cancelled=pull.cancelled
        )

    def spec(self, stored: StoredModel) -> ModelSpec:
        """How the engine should load a stored model."""
        engine, formats = self._config.engine, self.formats(stored)
        return ModelSpec(
            name=stored.name,
            path=str(stored.path),
            identity=stored.id,
            kind="encoder" if stored.kind == "encoder" else "causal",
            dtype=engine.dtype,
            device=engine.device,
            weight_format=formats.weights,
            kv_format=formats.kv,
            kv_bytes=engine.kv_bytes,
        )

    def _introduce(self, stored: StoredModel) -> None:
        spec, is_causal = self.spec(stored), stored.kind == "causal"
        weights = spec.weight_format if is_causal else "native"

        def footprint(dtype: str) -> Footprint:
            return estimate(
                read_json_object(stored.path / "config.json"),
                parameters=stored.parameters,
                context_tokens=stored.context_tokens,
                weight_dtype=dtype if weights == "native" else weights,
                kv_dtype=dtype if spec.kv_format == "native" else spec.kv_format,
                is_causal=is_causal,
            )

        self._engine.introduce(spec, footprint)

    async def codec(self, stored: StoredModel) -> TextCodec:
        """The model's tokenizer, read once; needs no loaded weights."""
        async with self._reading.setdefault(stored.id, asyncio.Lock()):
            codec = self._codecs.get(stored.id)
            if codec is None:
                codec = await asyncio.to_thread(TextCodec.load, stored.path)
                self._codecs[stored.id] = codec
        return codec

    async def unload(self, name: str) -> None:
        """Free a loaded model; raises `ModelInUse` while a request runs on it."""
        await self._engine.unload(self._store.resolve(name).name)
