"""What the kernel knows of each piece of work: enough to hand it to a new engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from lingos_kernel.engine.messages import (
    Embed,
    Embedded,
    Generate,
    ModelLoaded,
    ModelSpec,
    SamplingParams,
    SequenceOutput,
    TokenLogprob,
    Usage,
)
from lingos_kernel.errors import LingOSError


class Mailbox:
    """Outputs on their way to one consumer.

    A consumer slower than the engine finds what it missed merged into one output per choice,
    so that it holds at most the tokens of its own request.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, list[SequenceOutput]] = {}
        self._error: LingOSError | None = None
        self._arrived = asyncio.Event()

    def put(self, output: SequenceOutput) -> None:
        """Leave an output for the consumer; never waits."""
        self._waiting.setdefault(output.choice, []).append(output)
        self._arrived.set()

    def fail(self, error: LingOSError) -> None:
        """End the stream in an error, after the outputs that are waiting."""
        self._error = error
        self._arrived.set()

    async def get(self) -> SequenceOutput:
        """The next output; raises the error that the stream ended in."""
        while not self._waiting:
            if self._error:
                raise self._error
            self._arrived.clear()
            await self._arrived.wait()
        return merged(self._waiting.pop(next(iter(self._waiting))))


def merged(outputs: Sequence[SequenceOutput]) -> SequenceOutput:
    """Consecutive outputs of one choice as one."""
    last = outputs[-1]
    if len(outputs) == 1:
        return last
    return SequenceOutput(
        request_id=last.request_id,
        choice=last.choice,
        token_ids=tuple(t for output in outputs for t in output.token_ids),
        text="".join(output.text for output in outputs),
        logprobs=_joined([output.logprobs for output in outputs]),
        prompt_logprobs=_joined([output.prompt_logprobs for output in outputs]),
        finish_reason=last.finish_reason,
        usage=last.usage,
    )


def _joined(parts: Sequence[tuple[TokenLogprob, ...]]) -> tuple[TokenLogprob, ...]:
    return tuple(item for part in parts for item in part)


class Work:
    """A request that an engine may be working on."""

    def __init__(self, request: Generate | Embed) -> None:
        self.request = request
        self.is_sent = False
        """The present engine has it."""
        self.is_held = False
        """Paused: no engine computes for it."""
        self.crashes = 0
        """Consecutive crashes that found it in flight and without progress."""

    @property
    def request_id(self) -> str:
        """Its id on the wire."""
        return self.request.request_id

    @property
    def model(self) -> str:
        """The model that it uses."""
        return self.request.model

    def command(self, now_s: float) -> Generate | Embed:
        """What to send to an engine that does not know of it; goes on where the last one was."""
        raise NotImplementedError

    def fail(self, error: LingOSError) -> None:
        """End it in an error."""
        raise NotImplementedError


class Generation(Work):
    """A `Generate` in flight, with the tokens that its consumer has or is about to get."""

    request: Generate

    def __init__(
        self, request: Generate, now_s: float, *, parent: Generation | None = None
    ) -> None:
        """With a `parent` it is a branch, not yet confirmed by the engine."""
        # What is paused is not sent: no engine has to know of it.
        super().__init__(replace(request, is_paused=False) if request.is_paused else request)
        self.is_held = request.is_paused
        self.mailbox = Mailbox()
        self.tokens: list[list[int]] = [list(ids) for ids in request.output_ids]
        self.tokens += [[] for _ in range(request.params.n - len(self.tokens))]
        self.unfinished = set(range(request.params.n))
        self._parent = parent
        self._inherited = 0
        self._arrived_s = now_s
        self._first_token_s: float | None = None
        self._was_resumed = False
        self._has_prompt_logprobs = False

    def fork(self, request_id: str, params: SamplingParams | None, now_s: float) -> Generation:
        """A branch of choice 0, for the engine to fork if it has this request."""
        params = replace(params or replace(self.request.params, n=1), prompt_logprobs=None)
        request = replace(self.request, request_id=request_id, params=params, output_ids=())
        branch = Generation(request, now_s, parent=self)
        if self.is_sent:
            branch.is_sent = True
        else:
            branch.branch()
        return branch

    @property
    def is_unborn(self) -> bool:
        """Whether it is a branch that the engine has not confirmed."""
        return self._parent is not None

    def branch(self) -> None:
        """Fix where it left its parent: at the tokens that the parent has now."""
        if self._parent:
            self._parent.branch()
            inherited = self._parent.tokens[0]
            self.tokens = [list(inherited) for _ in self.tokens]
            self._inherited = len(inherited)
            self._parent = None

    def command(self, now_s: float) -> Generate:
        """The request, going on after the tokens that came."""
        self.branch()
        request = self.request
        if deadline_s := request.deadline_s:
            request = replace(request, deadline_s=deadline_s - (now_s - self._arrived_s))
        if not any(self.tokens) and not self._has_prompt_logprobs:
            return request
        self._was_resumed = True
        params = request.params
        if self._has_prompt_logprobs:
            params = replace(params, prompt_logprobs=None)
        return replace(request, params=params, output_ids=tuple(map(tuple, self.tokens)))

    def take(self, output: SequenceOutput, now_s: float) -> None:
        """Account for an output of the engine and pass it to the consumer."""
        if output.choice not in self.unfinished:
            return  # a resumed engine need not know that the choice had ended
        self.crashes = 0
        self.tokens[output.choice] += output.token_ids
        self._has_prompt_logprobs |= bool(output.prompt_logprobs)
        if output.token_ids and self._first_token_s is None:
            self._first_token_s = now_s - self._arrived_s
        if output.finish_reason:
            self.unfinished.discard(output.choice)
            if self._was_resumed and output.usage:
                output = replace(output, usage=self._whole_usage(output.usage, now_s))
        self.mailbox.put(output)

    def _whole_usage(self, usage: Usage, now_s: float) -> Usage:
        """The last engine saw only its own part of the time, and no parent."""
        return replace(
            usage,
            output_tokens=usage.output_tokens - self._inherited,
            first_token_s=self._first_token_s,
            total_s=now_s - self._arrived_s,
        )

    def fail(self, error: LingOSError) -> None:
        """End the stream in an error."""
        self.mailbox.fail(error)


class Embedding(Work):
    """An `Embed` in flight."""

    request: Embed

    def __init__(self, request: Embed) -> None:
        super().__init__(request)
        self.done: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()

    def command(self, now_s: float) -> Embed:  # noqa: ARG002 - as `Work` has it
        """The request, from its start: vectors come all at once."""
        return self.request

    def take(self, embedded: Embedded) -> None:
        """Give the vectors to whoever awaits them."""
        if not self.done.done():
            self.done.set_result(embedded)

    def fail(self, error: LingOSError) -> None:
        """End it in an error."""
        if not self.done.done():
            self.done.set_exception(error)


class Loading:
    """A `LoadModel` in flight."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.done: asyncio.Future[ModelLoaded] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting: the model is being reloaded, or those who asked for it left.
        self.done.add_done_callback(lambda done: done.cancelled() or done.exception())
        self.is_sent = False
        self.crashes = 0

    def succeed(self, loaded: ModelLoaded) -> None:
        """Tell whoever waits that the model is ready."""
        self.done.set_result(loaded)

    def fail(self, error: LingOSError) -> None:
        """End it in an error."""
        self.done.set_exception(error)
