"""Messages between the kernel and its engine process: small, typed, frozen.

Kernel to engine go the members of `Command`, engine to kernel those of `Event`.

They are encoded with msgspec (MessagePack); decode with `decode_command` and `decode_event`.
No torch here: the kernel imports this file.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from lingos_kernel.engine.stat_rows import HoldStats, ModelStats, SequenceStats

FinishReason = Literal["stop", "length", "cancelled", "tool_calls", "error"]
"""Why a sequence ended: a stop token or string, a token limit, a cancel, or an error."""

Pooling = Literal["mean", "cls", "last"]

WeightFormat = Literal["native", "int8", "int4"]
"""How linear layers, table and head are kept; native: in the model's dtype."""

KvFormat = Literal["native", "int8"]
"""How keys and values are kept."""

Occupation = Literal["idle", "command", "load", "step"]
"""What an engine does at a moment."""


class Message(msgspec.Struct, frozen=True, tag=True, omit_defaults=True):
    """Base of all messages; immutable, tagged with its class name on the wire."""


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the output must match: a JSON schema (as JSON text), a regex, or a Lark/EBNF grammar."""

    kind: Literal["json", "regex", "ebnf"]
    text: str


class SamplingParams(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to choose tokens, per request. The defaults are greedy decoding.

    Order of operations: logit bias, penalties, grammar mask, min-tokens mask, temperature,
    top-k, top-p, min-p, then one draw from a counter-based generator keyed by (seed, choice,
    position), so that a result does not depend on batch-mates.
    """

    temperature: float = 0.0
    top_k: int = 0
    """0 keeps all."""
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    """Over prompt and output (CTRL, Keskar et al. 2019)."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    """Presence and frequency count output tokens only, as in the OpenAI API."""
    logit_bias: dict[int, float] = {}
    seed: int = 0
    stop: tuple[str, ...] = ()
    """Stop strings; not part of the text that is emitted."""
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    max_tokens: int = 256
    """0 computes the prompt only (scores)."""
    min_tokens: int = 0
    n: int = 1
    logprobs: int | None = None
    """None: none. k: the chosen token's and the k most likely ones' at each position."""
    prompt_logprobs: int | None = None
    prompt_logprobs_from: int = 0
    """First prompt position to score; the ones before it may come from the prefix tree."""
    grammar: Grammar | None = None


class ModelSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model as the engine should load it."""

    name: str
    """The name that requests use; unique within one engine."""
    path: str
    """A folder in the Hugging Face layout, with config.json and safetensors."""
    kind: Literal["causal", "encoder"] = "causal"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto: float32 on a CPU (exact), bfloat16 on a GPU."""
    device: str = "auto"
    weight_format: WeightFormat = "native"
    """Encoders stay native."""
    kv_format: KvFormat = "native"
    context_tokens: int = 0
    """0: what the model's own configuration says."""
    kv_bytes: int = 0
    """Bytes for the KV pages; 0: the planner decides."""
    budget_bytes: int = 0
    """Most bytes of weights and KV pages together; 0: what the device has free."""
    identity: str = ""
    """What names its weights for good (the store's id); empty: found from its files."""


class Generate(Message, frozen=True):
    """Start a request of `params.n` choices."""

    request_id: str
    model: str
    prompt_ids: tuple[int, ...]
    params: SamplingParams = SamplingParams()
    priority: int = 0
    """Lower is more urgent, as with Unix nice: -20 to 19."""
    pid: int = 0
    program: str = ""
    """Requests of one program (an agent, a session) share it; policies may account by it."""
    tenant: str = ""
    """Prefix pages are shared within a tenant only."""
    share: str = ""
    """A common namespace of prefix pages instead, for tenants that agreed to it."""
    deadline_s: float | None = None
    """Seconds from arrival; used by deadline scheduling only."""
    output_ids: tuple[tuple[int, ...], ...] = ()
    """Tokens that each choice already has (resume after the engine died): nothing is sent twice."""
    hold_id: str = ""
    """The hold that it goes on from: it takes the pages over, and the place in line."""
    is_paused: bool = False
    """Begin paused, as if `Pause` had come with it."""


class Embed(Message, frozen=True):
    """Turn token sequences into vectors by pooling the last hidden layer."""

    request_id: str
    model: str
    inputs: tuple[tuple[int, ...], ...]
    pooling: Pooling = "mean"
    normalize: bool = True
    priority: int = 0
    pid: int = 0
    tenant: str = ""
    """Whose reserved memory its model may take."""


class LoadModel(Message, frozen=True):
    """Load a model; answered by `ModelLoaded`, or by `Failed` with request_id `model:NAME`."""

    spec: ModelSpec


class UnloadModel(Message, frozen=True):
    """Unload an idle model; answered by `ModelUnloaded` or `Failed` (`model:NAME`)."""

    name: str


class Cancel(Message, frozen=True):
    """End a request; its pages are free within one step and no output follows."""

    request_id: str


class SetPriority(Message, frozen=True):
    """Change the priority of a request, waiting or running."""

    request_id: str
    priority: int


class SetPolicy(Message, frozen=True):
    """Schedule by another policy from the next step on; nothing that waits or runs is lost."""

    name: str
    """As `EngineSettings.policy`."""
    tenant_weights: dict[str, float] = {}
    """Shares that tenants are due; who is not named has the weight 1."""


class Pause(Message, frozen=True):
    """Stop computing for a request at the next token boundary; it keeps its place and tokens."""

    request_id: str


class Resume(Message, frozen=True):
    """Let a paused request go on; its output is the same as if it had never paused."""

    request_id: str


class Fork(Message, frozen=True):
    """Branch choice 0 of a running request, as it stands, into a new request of its own.

    Full pages are shared, the tail page is copied on the first write. Answered at once by an
    empty output of the new request (so that the kernel knows after which tokens it begins), or by
    `Failed`. The tokens that it branched after count as its own: for limits, penalties and draws.
    """

    request_id: str
    new_request_id: str
    params: SamplingParams | None = None


class HoldPages(Message, frozen=True):
    """Keep the pages of the tokens that are cached, for the next turn; answered by `PagesHeld`.

    Ends by itself after `for_s`, or when memory is short for strictly more urgent work. The
    request that names it ends it as soon as it has the pages itself. `SetPriority` works on it.
    """

    hold_id: str
    model: str
    tokens: tuple[int, ...]
    for_s: float
    tenant: str = ""
    share: str = ""
    """As in `Generate`."""
    pid: int = 0
    priority: int = 0
    after: str = ""
    """The request that it follows: its place in line is the next turn's."""
    why: str = ""
    """For people: the tool, or the context."""


class ReleasePages(Message, frozen=True):
    """End a hold; its pages stay cached as long as nobody needs them."""

    hold_id: str


class DropCache(Message, frozen=True):
    """Forget the cached pages of all models that nobody uses, in every tier."""


class Shutdown(Message, frozen=True):
    """Finish the current step and leave."""


Command = (
    LoadModel | UnloadModel | Generate | Embed | Cancel | SetPriority | SetPolicy | Pause | Resume
    | Fork | HoldPages | ReleasePages | DropCache | Shutdown
)  # fmt: skip


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token's log-probability in nats, with the most likely tokens at its position."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a finished request cost."""

    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    """Prompt tokens whose pages came from the prefix tree."""
    queue_s: float = 0.0
    """From arrival to the first computed token."""
    first_token_s: float | None = None
    """From arrival to the first output token; None when there was none."""
    total_s: float = 0.0
    preemptions: int = 0


class SequenceOutput(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one choice of one request gained in one step."""

    request_id: str
    choice: int = 0
    token_ids: tuple[int, ...] = ()
    text: str = ""
    """Whole characters only; text that may turn into a stop string is held back."""
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    """Set once, for positions max(prompt_logprobs_from, 1) to the prompt's last."""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    """Set on the last output of the choice."""


class Outputs(Message, frozen=True):
    """All outputs of one step."""

    outputs: tuple[SequenceOutput, ...]


class DeviceInfo(msgspec.Struct, frozen=True):
    """The device that an engine runs on."""

    name: str
    """cpu, cuda:0, …"""
    description: str
    memory_bytes: int
    """All that it has."""
    free_bytes: int = 0
    """What was free when the engine started; 0: not known."""


class Ready(Message, frozen=True):
    """The engine is up and takes commands."""

    os_pid: int
    device: DeviceInfo


class Pulse(Message, frozen=True):
    """The engine lives, sent every second; it stays between transport and engine."""

    occupation: Occupation
    for_s: float
    """How long it has been at it."""


class ModelLoaded(Message, frozen=True):
    """A model is ready."""

    name: str
    kind: Literal["causal", "encoder"]
    architecture: str
    dtype: str
    parameters: int
    weight_bytes: int
    kv_bytes: int
    page_bytes: int
    """Bytes of one page of 16 slots over all layers; 0 for encoders."""
    pages: int
    context_tokens: int
    vocabulary: int
    hidden_size: int
    load_s: float
    weight_format: WeightFormat = "native"
    kv_format: KvFormat = "native"
    batch_invariant: bool = False
    """Whether a token is computed to the same bits, whatever is computed beside it."""


class ModelUnloaded(Message, frozen=True):
    """A model's weights and pages are free."""

    name: str


class Embedded(Message, frozen=True):
    """The vectors of an `Embed`, one per input."""

    request_id: str
    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int


class Failed(Message, frozen=True):
    """A request or a load ended in an error (`errors.to_wire`)."""

    request_id: str
    error: dict[str, Any]


class PagesHeld(Message, frozen=True):
    """How many pages a hold keeps: 0 when nothing was cached, or there was no room for it."""

    hold_id: str
    pages: int


class EngineStats(Message, frozen=True):
    """The engine's state, sent after steps at most four times a second, and when it falls idle."""

    step: int
    time_s: float
    """The engine's monotonic clock."""
    policy: str = ""
    """The scheduling policy in force."""
    models: tuple[ModelStats, ...] = ()
    sequences: tuple[SequenceStats, ...] = ()
    holds: tuple[HoldStats, ...] = ()
    prompt_tokens_total: int = 0
    output_tokens_total: int = 0
    cached_tokens_total: int = 0
    preemptions_total: int = 0
    prompt_tokens_per_s: float = 0.0
    output_tokens_per_s: float = 0.0
    step_s: float = 0.0
    """Mean duration of recent steps."""
    floor_share: float = 0.0
    """The physical lower bound of a decode step over the measured one: 1 is perfect."""
    rss_bytes: int = 0
    device_used_bytes: int = 0


Event = (
    Ready | ModelLoaded | ModelUnloaded | Outputs | Embedded | Failed | PagesHeld | EngineStats
    | Pulse
)  # fmt: skip

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_event = msgspec.msgpack.Decoder(Event).decode
