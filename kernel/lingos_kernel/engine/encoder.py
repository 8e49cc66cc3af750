"""The embedding requests of one model, a slice of them at each step."""

from __future__ import annotations

from dataclasses import dataclass, field

from lingos_kernel.engine.embedder import Embedder
from lingos_kernel.engine.messages import Embed, Embedded, Event, Failed
from lingos_kernel.errors import EmptyPrompt, InvalidArguments, LingOSError, to_wire


@dataclass(slots=True, eq=False)
class _Job:
    command: Embed
    priority: int
    vectors: list[tuple[float, ...]] = field(default_factory=list)


class Encoder:
    """Embeds by priority, then arrival; a long request gives way to urgent ones between steps."""

    def __init__(
        self, embedder: Embedder, *, name: str, vocabulary: int, step_tokens: int = 4096
    ) -> None:
        """`step_tokens` bounds a step, but for a single longer input."""
        self._embedder = embedder
        self._name = name
        self._vocabulary = vocabulary
        self._step_tokens = step_tokens
        self._jobs: dict[str, _Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._jobs

    @property
    def has_work(self) -> bool:
        """Whether a step would compute anything."""
        return bool(self._jobs)

    def add(self, command: Embed) -> None:
        """Take in a request; raises `InvalidArguments` when it cannot be served."""
        if not command.inputs or not all(command.inputs):
            raise EmptyPrompt("an input to embed has no tokens", hint="leave empty texts out")
        for ids in command.inputs:
            if not 0 <= min(ids) <= max(ids) < self._vocabulary:
                raise InvalidArguments(
                    f"a token id is outside of the {self._vocabulary} that {self._name} has",
                    hint="encode the text with this model's tokenizer",
                )
        self._jobs[command.request_id] = _Job(command, command.priority)

    def cancel(self, request_id: str) -> None:
        """Forget a request; unknown ones are ignored."""
        self._jobs.pop(request_id, None)

    def renice(self, request_id: str, priority: int) -> None:
        """Change the priority of a request; unknown ones are ignored."""
        if job := self._jobs.get(request_id):
            job.priority = priority

    def step(self) -> list[Event]:
        """Embed the next inputs of the most urgent request."""
        job = min(self._jobs.values(), key=_urgency)
        command = job.command
        inputs = self._slice(command.inputs[len(job.vectors) :])
        job.vectors += self._embedder.embed(
            inputs, pooling=command.pooling, normalize=command.normalize
        )
        if len(job.vectors) < len(command.inputs):
            return []
        del self._jobs[command.request_id]
        tokens = sum(len(self._embedder.truncate(ids)) for ids in command.inputs)
        return [Embedded(command.request_id, tuple(job.vectors), tokens)]

    def relieve(self, error: LingOSError) -> list[Event]:
        """A step did not fit: fail the request that it was for."""
        job = min(self._jobs.values(), key=_urgency)
        del self._jobs[job.command.request_id]
        return [Failed(job.command.request_id, to_wire(error))]

    def _slice(self, inputs: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        tokens = 0
        for count, ids in enumerate(inputs):
            tokens += len(ids)
            if count and tokens > self._step_tokens:
                return inputs[:count]
        return inputs


def _urgency(job: _Job) -> int:
    return job.priority
