"""What each scheduling policy does to a recorded trace, without an engine; run by hand.

    python tests/benchmarks/policy_simulation.py TRACE... [--steps CSV] [--plots FOLDER]

The simulator plays the arrivals of each trace (`simulation.traces` says which files it reads)
against the scheduler's own policies and batcher. Step times come from a model fitted to recorded
steps (`simulator_accuracy.py --steps` writes them; without, those of the machine in
`RECORDED` are used). Arrivals keep their order and rhythm but are stretched in time until the
work of each second takes `--load` seconds at full batches, so that there is something to decide.

The traces do not say who sent what, so that is made up, the same way each time: every seventh
request is urgent (nice -5); five tenants send in the shares 5:4:3:2:1; where the trace knows no
conversations, requests are the calls of agents, each as soon as the one before is answered, few
agents with up to 30 calls and many with few; a deadline is ten times what the request would take
alone. Printed are times in seconds, by policy; "program" is from an agent's first call to its
last answer.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lingos_kernel.memory.pages import pages_for
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.simulation.request import SimRequest, SimSequence
from lingos_kernel.simulation.simulator import Machine, Simulator
from lingos_kernel.simulation.step_time import StepTime, fit_step_time, read_steps
from lingos_kernel.simulation.summary import (
    FairnessMeter,
    first_token_s,
    program_turnarounds_s,
    summarize,
    turnaround_s,
)
from lingos_kernel.simulation.svg import cumulative_plot
from lingos_kernel.simulation.traces import read_trace

RECORDED = StepTime(base_s=0.0619, row_s=0.00279, prefill_token_s=0.00241, kv_slot_s=5.93e-6)
"""Fitted to 804 steps of SmolLM2-135M-Instruct in float32 on one core of an AMD EPYC."""
URGENT = -5
TENANTS = "aaaaabbbbcccdde"
MOST_CALLS = 30
WINDOW_REQUESTS = 20
"""Of fairness: so many times what a request takes alone."""


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on one trace."""

    ended: list[SimSequence]
    fairness: float | None
    span_s: float
    steps: int


def alone_s(request: SimRequest, step_time: StepTime) -> float:
    """What a request takes with the machine to itself."""
    slots = request.prompt_tokens + request.output_tokens / 2
    decode_s = step_time.base_s + step_time.row_s + step_time.kv_slot_s * slots
    return (
        step_time.base_s
        + request.prompt_tokens * step_time.prefill_token_s
        + request.output_tokens * decode_s
    )


def work_s(requests: Sequence[SimRequest], machine: Machine) -> float:
    """What the requests cost at full batches: the base of a step is shared by all its rows."""
    times = machine.step_time
    rows = min(machine.max_running, machine.pages // _mean_pages(requests))
    return sum(
        max(r.prompt_tokens - r.shared_tokens, 1) * times.prefill_token_s
        + r.output_tokens * (times.base_s / rows + times.row_s)
        + r.output_tokens * times.kv_slot_s * (r.prompt_tokens + r.output_tokens / 2)
        for r in requests
    )


def _mean_pages(requests: Sequence[SimRequest]) -> int:
    return round(statistics.fmean(pages_for(r.prompt_tokens + r.output_tokens) for r in requests))


def prepare(requests: Sequence[SimRequest], machine: Machine, load: float) -> list[SimRequest]:
    """Requests that fit the machine, with senders, classes and deadlines, stretched in time."""
    fitting = [r for r in requests if pages_for(r.prompt_tokens + r.output_tokens) <= machine.pages]
    kept = {r.key for r in fitting}
    fitting = [r if r.follows in kept else replace(r, follows=None) for r in fitting]
    factor = work_s(fitting, machine) / load / max(r.arrival_s for r in fitting)
    if not any(r.follows for r in fitting):
        fitting = with_agents(fitting)
    return [_sent(r, number, factor, machine.step_time) for number, r in enumerate(fitting)]


def with_agents(requests: Sequence[SimRequest]) -> list[SimRequest]:
    """The same requests as calls of agents, which begin when the first of their requests came."""
    numbers = random.Random(0)
    made: list[SimRequest] = []
    calls_left = 0
    for request in requests:
        if calls_left:
            before = made[-1]
            call = replace(before, follows=before.key, key=request.key)
            call = replace(
                call, prompt_tokens=request.prompt_tokens, output_tokens=request.output_tokens
            )
        else:
            calls_left = min(int(numbers.paretovariate(1.1)), MOST_CALLS)
            call = replace(request, program=f"agent-{request.key}")
        calls_left -= 1
        made.append(call)
    return made


def _sent(request: SimRequest, number: int, factor: float, step_time: StepTime) -> SimRequest:
    arrival_s = request.arrival_s * factor
    return replace(
        request,
        arrival_s=arrival_s,
        tenant=random.Random(request.program).choice(TENANTS),
        priority=URGENT if number % 7 == 3 else 0,
        deadline_s=arrival_s + 10 * alone_s(request, step_time),
    )


def simulate(requests: Sequence[SimRequest], name: str, machine: Machine) -> Result:
    """One policy on one trace."""
    window_s = WINDOW_REQUESTS * statistics.fmean(alone_s(r, machine.step_time) for r in requests)
    fairness = FairnessMeter(window_s=window_s)
    simulator = Simulator(requests, make_policy(name), machine, observe=fairness)
    ended = simulator.run()
    assert len(ended) == len(requests), "a request was lost"
    return Result(ended, fairness.index, simulator.now_s, simulator.steps)


HEAD = (
    f"{'':<17}{'waiting':>8}{'first token':>24}{'of urgent':>16}{'whole':>8}{'program':>16}\n"
    f"{'policy':<17}{'mean':>8}{'mean':>8}{'p50':>8}{'p99':>8}{'p50':>8}{'p99':>8}{'mean':>8}"
    f"{'mean':>8}{'p50':>8}{'late':>6}{'preempted':>10}{'Jain':>6}"
)


def row(name: str, result: Result) -> str:
    """A line of the table."""
    everybody = summarize(result.ended)
    urgent = summarize(s for s in result.ended if s.priority == URGENT)
    programs_s = program_turnarounds_s(result.ended)
    times_s = (
        everybody.waiting_mean_s,
        everybody.first_token_mean_s,
        everybody.first_token_p50_s,
        everybody.first_token_p99_s,
        urgent.first_token_p50_s,
        urgent.first_token_p99_s,
        everybody.turnaround_mean_s,
        statistics.fmean(programs_s),
        statistics.median(programs_s),
    )
    fairness = "-" if result.fairness is None else f"{result.fairness:.2f}"
    late = everybody.late / everybody.requests
    columns = "".join(f"{seconds:>8.1f}" for seconds in times_s)
    return f"{name:<17}{columns}{late:>6.0%}{everybody.preemptions:>10}{fairness:>6}"


def write_plots(folder: Path, name: str, results: dict[str, Result]) -> None:
    """Distributions over all requests, one line for each policy."""
    folder.mkdir(parents=True, exist_ok=True)
    for what, title, seconds in (
        ("first-token", "Time to first token", first_token_s),
        ("turnaround", "Time to the whole answer", turnaround_s),
    ):
        series = {
            policy: [seconds(sequence) for sequence in result.ended]
            for policy, result in results.items()
        }
        text = cumulative_plot(f"{title}: {name}", "seconds, share of requests", series)
        (folder / f"{name}-{what}.svg").write_text(text, encoding="utf-8")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="+", type=Path)
    parser.add_argument("--steps", type=Path, help="CSV of recorded steps to fit step times to")
    parser.add_argument("--limit", type=int, default=1500, help="requests of each trace")
    parser.add_argument("--load", type=float, default=2.0)
    parser.add_argument("--running", type=int, default=32)
    parser.add_argument("--pages", type=int, default=8192)
    parser.add_argument("--batch-tokens", type=int, default=512)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--names", help="names of the traces in plots, separated by commas")
    parser.add_argument("--plots", type=Path, help="write SVG plots into this folder")
    arguments = parser.parse_args()
    step_time = fit_step_time(read_steps(arguments.steps)) if arguments.steps else RECORDED
    machine = Machine(
        step_time, arguments.pages, arguments.running, max_batch_tokens=arguments.batch_tokens
    )
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores; {machine}")
    names = (arguments.names or ",".join(p.stem for p in arguments.traces)).split(",")
    for path, name in zip(arguments.traces, names, strict=True):
        requests = prepare(read_trace(path, arguments.limit), machine, arguments.load)
        print(f"\n{name}: {len(requests)} requests over {requests[-1].arrival_s:.0f} s")
        print(HEAD)
        results = {}
        for policy in arguments.policies.split(","):
            began_s = time.perf_counter()
            results[policy] = simulate(requests, policy, machine)
            took_s = time.perf_counter() - began_s
            print(
                row(policy, results[policy]), f"  ({results[policy].steps} steps, {took_s:.0f} s)"
            )
        if arguments.plots:
            write_plots(arguments.plots, name, results)


if __name__ == "__main__":
    main()
