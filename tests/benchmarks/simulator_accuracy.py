"""Does the simulator foresee a real run? Runs the engine, fits, simulates, compares; by hand.

    python tests/benchmarks/simulator_accuracy.py FOLDER [--requests 40] [--load 2] [--steps CSV]

FOLDER is a causal model in the Hugging Face layout (`lingos show NAME` names it). In each round
each policy gets a run with arrivals of its own. The simulator is to foresee its mean waiting time
within 20 %, in the median round, by a model of step times that is fitted to the steps of the runs
before it, as many as there are policies, with other arrivals: a single one tells more of what
others did on the machine just then. So the first round is learnt from only. A second model is
fitted to the run's own steps: on a machine whose speed others change it tells their doing from
errors of the simulator. Where they change it from second to second, `--clock cpu` lets the engine
live by the CPU time of its one thread, and skip the time in which it has nothing to do: that is
what a run would be like with a core to itself. `--steps` writes the steps of all scored runs and
of those that the first of them was foreseen by, for
`policy_simulation.py`.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Protocol

from lingos_kernel.engine.core import EngineCore
from lingos_kernel.engine.messages import (
    Event,
    Generate,
    LoadModel,
    ModelLoaded,
    ModelSpec,
    Outputs,
    SamplingParams,
    SetPolicy,
    Usage,
)
from lingos_kernel.engine.settings import EngineSettings
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.simulation.request import SimRequest
from lingos_kernel.simulation.simulator import Machine, Simulator
from lingos_kernel.simulation.step_time import (
    StepRecord,
    StepTime,
    fit_step_time,
    write_steps,
)
from lingos_kernel.simulation.summary import summarize

TO_REACH = 0.20
"""Of the mean waiting time."""
MAX_RUNNING = 8
MAX_BATCH_TOKENS = 256
TENANTS = ("ann", "bob", "cyd")


@dataclass(slots=True)
class Run:
    """What a real run was like."""

    steps: list[StepRecord] = field(default_factory=list)
    usages: dict[str, Usage] = field(default_factory=dict)
    late_s: dict[str, float] = field(default_factory=dict)
    """How long after their arrivals requests were taken in: the engine does between steps."""

    def mean(self, name: str) -> float:
        """Of one number of the usages, from the arrival on."""
        return statistics.fmean(
            getattr(usage, name) + self.late_s[key] for key, usage in self.usages.items()
        )


class Clock(Protocol):
    """By what time a run goes."""

    def __call__(self) -> float:
        """Seconds since whenever."""

    def skip(self, seconds: float) -> None:
        """Let time pass in which there is nothing to do."""


class WallClock:
    """As everybody's."""

    def __call__(self) -> float:
        """Of the machine."""
        return time.monotonic()

    def skip(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class CpuClock:
    """The CPU time of this process, and the time that was skipped."""

    def __init__(self) -> None:
        self._skipped_s = 0.0

    def __call__(self) -> float:
        """Others on the machine do not make it go on."""
        return time.process_time() + self._skipped_s

    def skip(self, seconds: float) -> None:
        """Be there at once."""
        self._skipped_s += seconds


def workload(count: int, seed: int, rate_per_s: float) -> list[SimRequest]:
    """Requests of many lengths that come at random, some more urgent than others."""
    numbers = random.Random(seed)
    arrival_s = 0.0
    requests = []
    for number in range(count):
        arrival_s += numbers.expovariate(rate_per_s)
        requests.append(
            SimRequest(
                key=f"{seed}-{number}",
                arrival_s=arrival_s,
                prompt_tokens=min(int(numbers.lognormvariate(4.3, 0.8)) + 1, 600),
                output_tokens=min(int(numbers.lognormvariate(3.2, 0.6)) + 1, 120),
                tenant=numbers.choice(TENANTS),
                program=f"agent-{numbers.randrange(count // 3 + 1)}",
                priority=numbers.choice((0, 0, 0, -5, 5)),
                deadline_s=numbers.choice((None, arrival_s + numbers.uniform(5, 50))),
            )
        )
    return requests


def run_real(
    core: EngineCore, requests: Sequence[SimRequest], vocabulary: int, clock: Clock
) -> Run:
    """Play requests in the clock's time; no two prompts begin alike, so none is cached."""
    numbers = random.Random(repr(requests[0]))
    coming = [_command(request, numbers, vocabulary) for request in requests]
    run = Run()
    began_s = free_s = clock()
    arrivals = list(zip((r.arrival_s for r in requests), coming, strict=True))[::-1]
    while arrivals or core.has_work:
        now_s = clock() - began_s
        while arrivals and arrivals[-1][0] <= now_s:
            arrival_s, command = arrivals.pop()
            run.late_s[command.request_id] = now_s - arrival_s
            _take(run, core.handle(command))
        if not core.has_work:
            clock.skip(max(arrivals[-1][0] - now_s, 0.0))
            free_s = clock()
            continue
        _take(run, core.step())
        decoder = core.models["m"].decoder
        assert decoder is not None
        work = decoder.last_work
        # From the end of the one before: taking requests in between is time, too.
        step_s, free_s = clock() - free_s, clock()
        run.steps.append(StepRecord(work.decode_rows, work.prefill_tokens, work.kv_slots, step_s))
    return run


def _command(request: SimRequest, numbers: random.Random, vocabulary: int) -> Generate:
    return Generate(
        request.key,
        "m",
        tuple(numbers.randrange(vocabulary) for _ in range(request.prompt_tokens)),
        SamplingParams(max_tokens=request.output_tokens, ignore_eos=True),
        tenant=request.tenant,
        program=request.program,
        priority=request.priority,
        deadline_s=None if request.deadline_s is None else request.deadline_s - request.arrival_s,
    )


def _take(run: Run, events: Sequence[Event]) -> None:
    for event in events:
        if isinstance(event, Outputs):
            for output in event.outputs:
                if output.usage:
                    run.usages[output.request_id] = output.usage


def work_s(requests: Sequence[SimRequest], step_time: StepTime) -> float:
    """What the requests cost when the batch is full: the base of a step is shared by all."""
    row_s = step_time.base_s / MAX_RUNNING + step_time.row_s
    return sum(
        r.prompt_tokens * step_time.prefill_token_s
        + r.output_tokens * (row_s + step_time.kv_slot_s * (r.prompt_tokens + r.output_tokens / 2))
        for r in requests
    )


def with_load(requests: Sequence[SimRequest], step_time: StepTime, load: float) -> list[SimRequest]:
    """The same requests, coming so fast that the work of each second takes `load` seconds."""
    factor = work_s(requests, step_time) / load / requests[-1].arrival_s
    return [_moved(r, r.arrival_s * factor) for r in requests]


def _moved(request: SimRequest, arrival_s: float) -> SimRequest:
    deadline_s = request.deadline_s
    if deadline_s is not None:
        deadline_s += arrival_s - request.arrival_s
    return replace(request, arrival_s=arrival_s, deadline_s=deadline_s)


@dataclass(frozen=True, slots=True)
class Trial:
    """A run under a policy."""

    policy: str
    requests: Sequence[SimRequest]
    run: Run

    def errors(self, steps: Sequence[StepRecord], pages: int) -> list[float]:
        """Of the foreseen mean waiting, time to the first token and turnaround, as shares."""
        machine = Machine(fit_step_time(steps), pages, MAX_RUNNING, MAX_BATCH_TOKENS)
        summary = summarize(Simulator(self.requests, make_policy(self.policy), machine).run())
        foreseen_s = (
            summary.waiting_mean_s, summary.first_token_mean_s, summary.turnaround_mean_s
        )  # fmt: skip
        return [f / r - 1 for f, r in zip(foreseen_s, self.real_s, strict=True)]

    @property
    def real_s(self) -> list[float]:
        """The means that were measured."""
        return [self.run.mean(part) for part in ("queue_s", "first_token_s", "total_s")]


def report(
    name: str, trials: Sequence[Trial], steps: Sequence[Sequence[StepRecord]], pages: int
) -> None:
    """Print the errors of a policy; `steps` are those that were known before each trial."""
    own = [(number, trial) for number, trial in enumerate(trials) if trial.policy == name]
    columns = zip(*(trial.real_s for _, trial in own), strict=True)
    real = "".join(f"{statistics.median(values):>12.3f} s" for values in columns)
    print(f"{name:<18}{'real':>10}{real}")
    for source, errors in (
        ("before", [t.errors(steps[n], pages) for n, t in own]),
        ("own steps", [t.errors(t.run.steps, pages) for _, t in own]),
    ):
        medians = [statistics.median(values) for values in zip(*errors, strict=True)]
        verdict = "ok" if abs(medians[0]) <= TO_REACH else "OFF"
        each = ", ".join(f"{value[0]:+.0%}" for value in errors)
        print(f"{'':<18}{source:>10}" + "".join(f"{e:>+14.1%}" for e in medians), verdict, each)


def main() -> None:
    """Run, fit, simulate, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--load", type=float, default=2.0)
    parser.add_argument("--steps", type=Path, help="write the recorded steps here")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--policies", default=",".join(POLICIES))
    arguments = parser.parse_args()
    clock: Clock = CpuClock() if arguments.clock == "cpu" else WallClock()
    settings = EngineSettings(
        max_running=MAX_RUNNING,
        max_batch_tokens=MAX_BATCH_TOKENS,
        threads=1 if arguments.clock == "cpu" else arguments.threads,
    )
    core = EngineCore(settings, clock)
    (loaded,) = (
        event
        for event in core.handle(LoadModel(ModelSpec(name="m", path=str(arguments.folder))))
        if isinstance(event, ModelLoaded)
    )
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.2f}; {core.device.description}, {loaded.dtype}"
    )
    run_real(core, workload(10, 0, 10.0), loaded.vocabulary, clock)  # to warm up
    first = run_real(core, workload(arguments.requests, 1, 3.0), loaded.vocabulary, clock)
    step_time = fit_step_time(first.steps)
    print(f"fitted to the first {len(first.steps)} steps: {step_time}", flush=True)
    names = arguments.policies.split(",")
    runs: list[Trial] = []
    known: list[list[StepRecord]] = []
    latest: deque[list[StepRecord]] = deque(maxlen=len(names))
    for number in range((arguments.rounds + 1) * len(names)):
        requests = workload(arguments.requests, 2 + number, 1.0)
        requests = with_load(requests, step_time, arguments.load)
        name = names[number % len(names)]
        core.handle(SetPolicy(name))
        trial = Trial(name, requests, run_real(core, requests, loaded.vocabulary, clock))
        if len(latest) == len(names):  # the first round is there to be learnt from
            runs.append(trial)
            known.append(list(chain.from_iterable(latest)))
            before, own = (
                trial.errors(steps, loaded.pages)[0] for steps in (known[-1], trial.run.steps)
            )
            told = f"waited {trial.real_s[0]:.3f} s; {before:+.0%}, own steps {own:+.0%}"
            print(f"{name}: {told}", flush=True)
        latest.append(trial.run.steps)
    print(f"{'policy':<18}{'':>10}{'mean waiting':>14}{'first token':>14}{'turnaround':>14}")
    for name in names:
        report(name, runs, known, loaded.pages)
    if arguments.steps:
        steps = [*known[0], *chain.from_iterable(trial.run.steps for trial in runs)]
        write_steps(arguments.steps, steps)
    print(f"load afterwards {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
