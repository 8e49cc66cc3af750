"""Requests that wait for their model, as statistics tell them, and what the wait adds to theirs."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from lingos_kernel.engine.messages import Embed, EngineStats, Generate, SequenceOutput
from lingos_kernel.engine.stat_rows import SequenceStats
from lingos_kernel.memory.claims import Claims, claims_line


def with_absent(
    stats: EngineStats,
    requests: Mapping[str, Generate | Embed],
    claims: Claims,
    said: Mapping[str, int],
    *,
    now_s: float,
) -> EngineStats:
    """Statistics with the requests that wait for a model, and the stopped ones whose model left.

    `said`: how many tokens each has had.
    """
    known = {row.request_id for row in stats.sequences}
    places = claims_line(claims)
    waiting = [
        _row(
            requests[claim.id],
            said.get(claim.id, 0),
            is_stopped=claim.is_held,
            position=places[claim.id],
            waited_s=now_s - claim.arrival_s,
        )
        for claim in claims
        if claim.id in requests
    ]
    stopped = [
        _row(
            request,
            said.get(request.request_id, 0),
            is_stopped=True,
            position=None,
            waited_s=0.0,
        )
        for request in requests.values()
        if isinstance(request, Generate)
        and request.is_paused
        and request.request_id not in claims
        and request.request_id not in known
    ]
    if not waiting and not stopped:
        return stats
    return replace(stats, sequences=(*stats.sequences, *waiting, *stopped))


def with_waited(output: SequenceOutput, waited_s: float) -> SequenceOutput:
    """An output whose usage, if it has one, counts the time that the request waited before."""
    usage = output.usage
    if usage is None:
        return output
    first_s = usage.first_token_s
    usage = replace(
        usage,
        queue_s=usage.queue_s + waited_s,
        first_token_s=None if first_s is None else first_s + waited_s,
        total_s=usage.total_s + waited_s,
    )
    return replace(output, usage=usage)


def _row(
    request: Generate | Embed, said: int, *, is_stopped: bool, position: int | None, waited_s: float
) -> SequenceStats:
    prompt = request.prompt_ids if isinstance(request, Generate) else sum(request.inputs, ())
    return SequenceStats(
        request_id=request.request_id,
        choice=0,
        pid=request.pid,
        model=request.model,
        state="paused" if is_stopped else "waiting",
        priority=request.priority,
        queue_position=position,
        prompt_tokens=len(prompt),
        computed_tokens=0,
        output_tokens=said,
        cached_tokens=0,
        pages=0,
        kv_bytes=0,
        waited_s=waited_s,
        running_s=0.0,
        first_token_s=None,
        tokens_per_s=0.0,
        preemptions=0,
    )
