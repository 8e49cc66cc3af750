"""A model in memory: weights, pages, and what runs its requests."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from lingos_kernel.engine.batch import Part
from lingos_kernel.engine.batch_invariance import make_batch_invariant
from lingos_kernel.engine.compression import load_compressed
from lingos_kernel.engine.decoder import Decoder
from lingos_kernel.engine.embedder import Embedder
from lingos_kernel.engine.encoder import Encoder
from lingos_kernel.engine.floor import largest_matrix, memory_bandwidth, step_bytes
from lingos_kernel.engine.intake import Intake
from lingos_kernel.engine.kv_cache import KvCache, page_bytes
from lingos_kernel.engine.kv_formats import KV_STORES
from lingos_kernel.engine.messages import ModelLoaded, ModelSpec
from lingos_kernel.engine.probe import Found, probe
from lingos_kernel.engine.roster import Roster
from lingos_kernel.engine.runner import ModelRunner
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.engine.tier_choice import choose_tiers, identity_of
from lingos_kernel.engine.weight_sizes import weight_bytes
from lingos_kernel.errors import UnsupportedModel
from lingos_kernel.memory.ledger import PageLedger
from lingos_kernel.memory.planner import MemoryDemand, plan_kv
from lingos_kernel.memory.prefix_keys import PrefixKeys
from lingos_kernel.memory.relief import Prices
from lingos_kernel.models.loader import (
    context_tokens_of,
    free_bytes,
    load_causal,
    load_encoder,
    parameter_count,
    resolve_device,
    resolve_dtype,
)
from lingos_kernel.models.text_codec import TextCodec
from lingos_kernel.scheduling.catalogue import make_policy
from lingos_kernel.scheduling.step_budget import StepBudget

KV_SHARE = {"cpu": 0.25, "cuda": 0.6}
"""Of the memory that is free beside the weights; other models and programs want some too."""
BUDGET_SHARE = 0.6
"""Of what a memory budget leaves beside the weights; the next models want some, too."""
MEASURED_PAGES = 4
"""Copied once to see how fast the memory is."""
EXPECTED_TOKENS = 1024
"""Prompt and output of a typical inference, for the sum N = M // C."""
UNKNOWN_CONTEXT = 2048
"""For models whose configuration does not say."""

PROVEN = frozenset(
    (
        *("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "gemma2", "gemma3_text"),
        *("gpt2", "phi3", "olmo2", "mixtral"),
    )
)
"""Architectures that the tests compare with transformers, so that loading need not."""


class LoadedModel:
    """One model of the engine, causal or encoder."""

    def __init__(
        self,
        spec: ModelSpec,
        info: ModelLoaded,
        decoder: Decoder | None,
        encoder: Encoder,
        *,
        step_bytes: int,
        bandwidth: float,
    ) -> None:
        """`step_bytes`: the least of the weights that a decode step reads, at `bandwidth`."""
        self.spec = spec
        self.info = info
        self.decoder = decoder
        """None for encoders."""
        self.encoder = encoder
        self.step_bytes = step_bytes
        self.bandwidth = bandwidth

    @property
    def is_busy(self) -> bool:
        """Whether any request uses it."""
        return bool(self.encoder) or (
            self.decoder is not None and bool(self.decoder.roster.requests)
        )

    def close(self) -> None:
        """Keep of its KV pages what can be kept for the next time."""
        if self.decoder and self.decoder.tiers:
            self.decoder.tiers.close(self.decoder.roster.ledger)


def load_model(
    spec: ModelSpec, settings: EngineSettings, clock: Callable[[], float] = time.monotonic
) -> LoadedModel:
    """Load a model and make it ready to serve.

    Raises `CorruptModel`, `UnsupportedModel`, `OutOfMemory` or `ConfigError`.
    """
    started_s = clock()
    device = resolve_device(spec.device if spec.device != "auto" else settings.device)
    dtype = resolve_dtype(spec.dtype if spec.dtype != "auto" else settings.dtype, device)
    with ThreadPoolExecutor(1) as reader:  # reading the tokenizer takes as long as the weights
        reading = reader.submit(TextCodec.load, Path(spec.path))
        model, parameters = _weights(spec, device, dtype)
        codec = reading.result()
    return assemble(model, codec, spec, settings, clock, started_s=started_s, parameters=parameters)


def _weights(spec: ModelSpec, device: torch.device, dtype: torch.dtype) -> tuple[Any, int]:
    """The model, and how many parameters it has."""
    path = Path(spec.path)
    if spec.kind == "causal" and spec.weight_format != "native":
        return load_compressed(path, spec.weight_format, device=device, dtype=dtype)
    load = load_causal if spec.kind == "causal" else load_encoder
    model = load(path, device=device, dtype=dtype)
    return model, parameter_count(model)


def assemble(
    model: Any,
    codec: TextCodec,
    spec: ModelSpec,
    settings: EngineSettings,
    clock: Callable[[], float] = time.monotonic,
    *,
    started_s: float | None = None,
    parameters: int | None = None,
) -> LoadedModel:
    """Make a transformers model that is in memory ready to serve; raises as `load_model` does.

    `parameters`: how many it had before its weights were compressed.
    """
    began_s = clock() if started_s is None else started_s
    found = probe(model, spec.name) if spec.kind == "causal" else []
    if found and model.config.get_text_config().model_type not in PROVEN:
        verify(model, found, spec.name, is_exact=spec.weight_format == "native")
    shapes = [shape for _, shape in found]
    # Of the plain weights: packed ones are in no parameter.
    parameters = parameters or parameter_count(model)
    read_bytes = step_bytes(model) if found else 0
    bandwidth = memory_bandwidth(largest_matrix(model))
    is_invariant = make_batch_invariant(model, shapes)
    one_page_bytes = page_bytes(shapes, KV_STORES[spec.kv_format])
    weights = weight_bytes(model)
    context = _context(model, codec, spec)
    pages = 0
    if found:
        demand = MemoryDemand(
            weight_bytes=weights,
            page_bytes=one_page_bytes,
            context_tokens=context,
            expected_tokens=min(EXPECTED_TOKENS, context),
            max_running=settings.max_running,
        )
        pages = plan_kv(
            demand,
            free_bytes=_free_bytes(model.device, spec, weights),
            share=BUDGET_SHARE if spec.budget_bytes else KV_SHARE.get(model.device.type, 0.5),
            kv_bytes=spec.kv_bytes or settings.kv_bytes,
        ).pages
    info = ModelLoaded(
        name=spec.name,
        kind=spec.kind,
        architecture=type(model).__name__,
        dtype=str(model.dtype).removeprefix("torch."),
        parameters=parameters,
        weight_bytes=weights,
        kv_bytes=pages * one_page_bytes,
        page_bytes=one_page_bytes,
        pages=pages,
        context_tokens=context,
        vocabulary=model.get_input_embeddings().num_embeddings,
        hidden_size=model.config.get_text_config().hidden_size,
        load_s=0.0,
        weight_format=spec.weight_format if found else "native",
        kv_format=spec.kv_format if found else "native",
        batch_invariant=is_invariant,
    )
    decoder = _decoder(model, found, spec, info, codec, settings, clock) if found else None
    encoder = _encoder(model, info, codec)
    return LoadedModel(
        spec,
        replace(info, load_s=clock() - began_s),
        decoder,
        encoder,
        step_bytes=read_bytes,
        bandwidth=bandwidth,
    )


def verify(model: Any, found: Found, name: str, *, is_exact: bool = True) -> None:
    """Compare a packed, chunked pass over pages with transformers' own dense pass.

    Raises `UnsupportedModel` when they differ: the model keeps something between tokens that
    is not in its keys and values, or does not read the positions that it is given.
    `is_exact`: whether nothing but the dtype rounds.
    """
    ids = [(7 * index + 3) % 89 for index in range(9)]
    shapes = [shape for _, shape in found]
    with torch.inference_mode():
        dense = torch.tensor([ids], device=model.device)
        expected = model(input_ids=dense, use_cache=False).logits[0].float()
    before = model.config._attn_implementation
    runner = ModelRunner(model, found, KvCache(shapes, 3, model.device))
    try:
        other = Part(ids[2:7], 0, [0], 5)
        first = runner.forward([Part(ids[:1], 0, [2], 0), other])
        rest = runner.forward([Part(ids[5:6], 5, [0], 1), Part(ids[1:8], 1, [2], 0)])
        last = runner.forward([Part(ids[8:9], 8, [2], 0)])
    finally:
        model.set_attn_implementation(before)
    difference = (torch.cat([first, rest, last]) - expected).abs().max() / expected.abs().max()
    if not difference < (1e-3 if is_exact and model.dtype == torch.float32 else 0.1):
        raise UnsupportedModel(
            f"{name} ({type(model).__name__}) computes otherwise over pages than by itself"
            f" (logits differ by {float(difference):.1%})",
            hint="this engine cannot run it faithfully; choose another model",
        )


def _free_bytes(device: torch.device, spec: ModelSpec, weights: int) -> int:
    """What KV pages may take of a device that has the weights already."""
    free = free_bytes(device)
    return min(free, spec.budget_bytes - weights) if spec.budget_bytes else free


def _context(model: Any, codec: TextCodec, spec: ModelSpec) -> int:
    limits = (spec.context_tokens, context_tokens_of(model.config))
    known = [limit for limit in limits if limit] or [codec.context_tokens or UNKNOWN_CONTEXT]
    if spec.kind == "encoder" and codec.context_tokens:
        known.append(codec.context_tokens)
    return min(known)


def _decoder(
    model: Any,
    found: Found,
    spec: ModelSpec,
    info: ModelLoaded,
    codec: TextCodec,
    settings: EngineSettings,
    clock: Callable[[], float],
) -> Decoder:
    shapes, prices = [shape for _, shape in found], Prices()
    cache = KvCache(shapes, info.pages, model.device, KV_STORES[spec.kv_format])
    runner = ModelRunner(model, found, cache, threads=settings.threads)
    identity = identity_of(spec, shapes, model.dtype, page_bytes=cache.page_bytes)
    tiers = choose_tiers(cache, prices, settings, identity=identity, device=model.device)
    if tiers:
        tiers.measure(range(min(MEASURED_PAGES, info.pages)))
    ledger = PageLedger(info.pages, keys=PrefixKeys(identity), tiers=tiers)
    policy = make_policy(settings.policy, settings.tenant_weights)
    roster = Roster(
        ledger,
        policy,
        settings.max_running,
        clock,
        tenant_hold_share=settings.tenant_hold_share,
    )
    intake = Intake(
        codec,
        name=info.name,
        context_tokens=info.context_tokens,
        vocabulary=info.vocabulary,
        pages=info.pages,
        page_bytes=info.page_bytes,
    )
    # One token for everybody who decodes, and one at least for prefill.
    tokens = max(settings.max_batch_tokens, settings.max_running + 1)
    return Decoder(
        runner,
        roster,
        intake,
        budget=StepBudget(max_tokens=tokens, pace=settings.pace),
        clock=clock,
        tiers=tiers,
        prices=prices,
    )


def _encoder(model: Any, info: ModelLoaded, codec: TextCodec) -> Encoder:
    embedder = Embedder(
        model,
        max_tokens=info.context_tokens,
        closing_ids=codec.frame[1],
        pad_id=model.config.get_text_config().pad_token_id or 0,
    )
    return Encoder(embedder, name=info.name, vocabulary=info.vocabulary)
