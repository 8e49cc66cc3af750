"""Counting what the engine does: rates, totals, and how near it comes to the physical floor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil
import torch

from lingos_kernel.engine.decoder import Decoder, StepWork
from lingos_kernel.engine.messages import EngineStats
from lingos_kernel.engine.model import LoadedModel
from lingos_kernel.engine.sequence import Sequence
from lingos_kernel.engine.stat_rows import ModelStats, SequenceStats, TenantStats
from lingos_kernel.memory.pages import PAGE_SLOTS

INTERVAL_S = 0.25
"""Between two `EngineStats` while there is work."""
WINDOW_S = 5.0
"""Rates and means are over the steps of so long."""


@dataclass(frozen=True, slots=True)
class _Step:
    end_s: float
    duration_s: float
    work: StepWork
    floor_s: float
    """What it could not go below; 0 when unknown."""


class Meter:
    """Adds up steps; gives `EngineStats`."""

    def __init__(self, device: torch.device, clock: Callable[[], float]) -> None:
        self._device = device
        self._clock = clock
        self._process = psutil.Process()
        self._steps: deque[_Step] = deque()
        self._last_sent_s = -INTERVAL_S
        self._step = 0
        self._prompt_tokens = 0
        self._output_tokens = 0
        self._gone_preemptions = 0
        self._gone_cached = 0

    def count(self, work: StepWork, started_s: float, model: LoadedModel) -> None:
        """Take in a step of a causal model."""
        now_s = self._clock()
        self._step += 1
        self._prompt_tokens += work.prompt_tokens
        self._output_tokens += work.output_tokens
        floor_s = 0.0
        if work.is_decode and work.output_tokens:
            kv_bytes = work.kv_slots * model.info.page_bytes // PAGE_SLOTS
            floor_s = (model.step_bytes + kv_bytes) / model.bandwidth
        self._steps.append(_Step(now_s, now_s - started_s, work, floor_s))
        self._forget(now_s)

    def retire(self, decoder: Decoder) -> None:
        """Keep the totals of a model that is unloaded."""
        self._gone_preemptions += decoder.roster.preemptions
        self._gone_cached += decoder.cached_tokens_total

    @property
    def is_due(self) -> bool:
        """Whether the last statistics are old enough for new ones."""
        return self._clock() - self._last_sent_s >= INTERVAL_S

    def snapshot(self, models: Iterable[LoadedModel], *, policy: str) -> EngineStats:
        """The engine's state now."""
        models = list(models)
        decoders = [(model, model.decoder) for model in models if model.decoder is not None]
        now_s = self._last_sent_s = self._clock()
        self._forget(now_s)
        steps = self._steps
        # From the start of the oldest step, so that a burst is not spread over the window.
        span_s = now_s - steps[0].end_s + steps[0].duration_s if steps else 0.0
        decodes = [step for step in steps if step.floor_s]
        return EngineStats(
            step=self._step,
            time_s=now_s,
            policy=policy,
            models=tuple(_model_stats(model) for model in models),
            sequences=tuple(
                item for model, decoder in decoders for item in _all_stats(model, decoder, now_s)
            ),
            holds=tuple(
                row
                for model, decoder in decoders
                for row in decoder.roster.holds.stats(model.spec.name, now_s)
            ),
            prompt_tokens_total=self._prompt_tokens,
            output_tokens_total=self._output_tokens,
            cached_tokens_total=self._gone_cached + sum(d.cached_tokens_total for _, d in decoders),
            preemptions_total=self._gone_preemptions
            + sum(d.roster.preemptions for _, d in decoders),
            prompt_tokens_per_s=_ratio(sum(step.work.prompt_tokens for step in steps), span_s),
            output_tokens_per_s=_ratio(sum(step.work.output_tokens for step in steps), span_s),
            step_s=_ratio(sum(step.duration_s for step in steps), len(steps)),
            # Pages that rows share are read once, and bandwidth is measured beside others' work.
            floor_share=min(
                _ratio(sum(s.floor_s for s in decodes), sum(s.duration_s for s in decodes)), 1.0
            ),
            rss_bytes=self._process.memory_info().rss,
            device_used_bytes=self._device_used(),
        )

    def _forget(self, now_s: float) -> None:
        while self._steps and self._steps[0].end_s < now_s - WINDOW_S:
            self._steps.popleft()

    def _device_used(self) -> int:
        if self._device.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info(self._device)
        return total - free


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def _model_stats(model: LoadedModel) -> ModelStats:
    decoder = model.decoder
    if decoder is None:
        return ModelStats(
            name=model.spec.name,
            weight_bytes=model.info.weight_bytes,
            page_bytes=0,
            pages_total=0,
            pages_used=0,
            pages_cached=0,
            pages_free=0,
            running=0,
            waiting=len(model.encoder),
        )
    ledger = decoder.roster.ledger
    return ModelStats(
        name=model.spec.name,
        weight_bytes=model.info.weight_bytes,
        page_bytes=model.info.page_bytes,
        pages_total=ledger.pool.total_pages,
        pages_used=ledger.used_pages,
        pages_cached=ledger.tree.evictable_pages,
        pages_free=ledger.pool.free_pages,
        pages_held=decoder.roster.holds.pages,
        pages_held_most=decoder.roster.holds.bounds.pages,
        pages_held_tenant_most=decoder.roster.holds.bounds.tenant_pages,
        pages_held_by=decoder.roster.holds.tenant_pages,
        running=len(decoder.roster.running),
        waiting=len(decoder.roster.waiting),
        tiers=decoder.tiers.stats if decoder.tiers else (),
        kept_preemptions=decoder.roster.reliefs["keep"],
        spilled_preemptions=decoder.roster.reliefs["spill"],
        dropped_preemptions=decoder.roster.reliefs["drop"],
        prefill_tokens_per_s=decoder.prices.prefill.per_s or 0.0,
        pages_per_inference=decoder.roster.admission.pages_per_inference,
        max_running=decoder.roster.max_running,
        tenants=tuple(
            TenantStats(book.tenant, book.weight, book.counter, book.tokens)
            for book in decoder.roster.policy.tenant_books()
        ),
    )


def _all_stats(model: LoadedModel, decoder: Decoder, now_s: float) -> list[SequenceStats]:
    roster = decoder.roster
    placed = [
        _sequence_stats(model, s, None, now_s) for s in (*roster.running, *roster.paused.values())
    ]
    queued = [_sequence_stats(model, s, index, now_s) for index, s in enumerate(roster.waiting)]
    return placed + queued


def _sequence_stats(
    model: LoadedModel, sequence: Sequence, position: int | None, now_s: float
) -> SequenceStats:
    pages = len(sequence.holding.pages) if sequence.holding else 0
    running_s = sequence.running_s
    if sequence.state in ("prefill", "decode"):
        running_s += now_s - sequence.since_s
    outputs = len(sequence.outputs) - sequence.inherited
    first = sequence.first_token_s
    return SequenceStats(
        request_id=sequence.request.id,
        choice=sequence.choice,
        pid=sequence.request.command.pid,
        model=model.spec.name,
        state=sequence.state,
        priority=sequence.priority,
        queue_position=position,
        prompt_tokens=sequence.prompt_tokens,
        computed_tokens=sequence.computed,
        output_tokens=outputs,
        cached_tokens=sequence.cached_tokens,
        pages=pages,
        kv_bytes=pages * model.info.page_bytes,
        waited_s=max(now_s - sequence.request.arrival_s - running_s, 0.0),
        running_s=running_s,
        first_token_s=None if first is None else first - sequence.request.arrival_s,
        tokens_per_s=outputs / running_s if running_s > 0 else 0.0,
        preemptions=sequence.preemptions,
    )
