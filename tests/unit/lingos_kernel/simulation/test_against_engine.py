"""The simulator beside the engine that it stands for, on one clock: both decide the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lingos_kernel.engine.messages import (
    Event,
    Failed,
    Generate,
    LoadModel,
    ModelSpec,
    Outputs,
    SamplingParams,
    Usage,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.simulation.request import SimRequest
from lingos_kernel.simulation.simulator import Machine, Simulator
from lingos_kernel.simulation.step_time import StepTime
from lingos_kernel.simulation.summary import summarize

STEP_TIME = StepTime(base_s=0.05, row_s=0.003, prefill_token_s=0.002, kv_slot_s=6e-6)
MAX_RUNNING = 4
MAX_BATCH_TOKENS = 64


class TimedRunner:
    """A runner whose passes take the time that the model of step times says."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.now_s = 0.0

    def forward(self, parts: Sequence[Any]) -> Any:
        """Compute, and let time pass."""
        rows = sum(len(part.token_ids) == 1 for part in parts)
        prefill_tokens = sum(len(part.token_ids) for part in parts) - rows
        kv_slots = sum(part.end for part in parts)
        self.now_s += STEP_TIME.seconds(rows, prefill_tokens, kv_slots)
        return self._runner.forward(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


def workload(seed: int, count: int = 30) -> list[SimRequest]:
    """More than the engine can do at a time, of several tenants, programs and classes."""
    numbers = random.Random(seed)
    requests, arrival_s = [], 0.0
    for number in range(count):
        arrival_s += numbers.expovariate(4.0)
        requests.append(
            SimRequest(
                key=f"r{number}",
                arrival_s=arrival_s,
                prompt_tokens=numbers.randint(1, 120),
                output_tokens=numbers.randint(1, 40),
                tenant=numbers.choice("abc"),
                program=f"agent-{numbers.randrange(count // 3)}",
                priority=numbers.choice((0, 0, 0, -5, 5)),
                deadline_s=numbers.choice((None, arrival_s + numbers.uniform(2, 20))),
            )
        )
    return requests


class TimedEngine:
    """An engine core whose clock is its runner's."""

    def __init__(self, folder: Path, policy: str, pages: int) -> None:
        import torch

        from lingos_kernel.engine.core import EngineCore

        torch.set_num_threads(1)
        self.runner: TimedRunner | None = None
        settings = EngineSettings(
            device="cpu",
            max_running=MAX_RUNNING,
            max_batch_tokens=MAX_BATCH_TOKENS,
            policy=policy,
            threads=1,
        )
        self.core = EngineCore(settings, lambda: self.runner.now_s if self.runner else 0.0)
        page_bytes = 2 * 2 * 2 * 16 * 16 * 4  # layers, keys and values, heads, slots, size, float32
        spec = ModelSpec(name="m", path=str(folder), kv_bytes=pages * page_bytes)
        self.core.handle(LoadModel(spec))
        model = self.core.models["m"]
        assert model.info.pages == pages
        assert model.decoder is not None
        self.runner = TimedRunner(model.decoder._runner)
        model.decoder._runner = self.runner  # type: ignore[assignment]
        self.usages: dict[str, Usage] = {}

    def play(self, requests: Sequence[SimRequest]) -> None:
        """Take requests in as they come, until all are answered."""
        assert self.runner is not None
        coming = list(requests)
        while coming or self.core.has_work:
            if not self.core.has_work:
                self.runner.now_s = max(self.runner.now_s, coming[0].arrival_s)
            while coming and coming[0].arrival_s <= self.runner.now_s:
                request = coming.pop(0)
                before_s, self.runner.now_s = self.runner.now_s, request.arrival_s
                self._take(self.core.handle(_command(request)))
                self.runner.now_s = before_s
            self._take(self.core.step())
        self.core.check_integrity()

    def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            assert not isinstance(event, Failed), event
            if isinstance(event, Outputs):
                for output in event.outputs:
                    if output.usage:
                        self.usages[output.request_id] = output.usage


def _command(request: SimRequest) -> Generate:
    numbers = random.Random(request.key)
    deadline_s = request.deadline_s
    return Generate(
        request.key,
        "m",
        tuple(numbers.randrange(3, 280) for _ in range(request.prompt_tokens)),
        SamplingParams(max_tokens=request.output_tokens, ignore_eos=True),
        tenant=request.tenant,
        program=request.program,
        priority=request.priority,
        deadline_s=None if deadline_s is None else deadline_s - request.arrival_s,
    )


@pytest.mark.parametrize("pages", [200, 24])
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_it_foresees_waiting_where_time_is_no_secret(
    tiny_llama: Path, policy: str, pages: int
) -> None:
    """With the true step times only the simulator's own errors are left, of a few per cent."""
    requests = workload(seed=pages)
    engine = TimedEngine(tiny_llama, policy, pages)
    engine.play(requests)
    machine = Machine(STEP_TIME, pages, MAX_RUNNING, MAX_BATCH_TOKENS)
    ended = Simulator(requests, make_policy(policy), machine).run()
    summary = summarize(ended)
    usages = engine.usages.values()
    assert len(usages) == len(requests)
    for name, foreseen_s in (
        ("queue_s", summary.waiting_mean_s),
        ("first_token_s", summary.first_token_mean_s),
        ("total_s", summary.turnaround_mean_s),
    ):
        real_s = sum(getattr(usage, name) for usage in usages) / len(usages)
        assert foreseen_s == pytest.approx(real_s, rel=0.1)
