"""The simulated engine: nothing is lost, and each policy does what it is for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingos_kernel.errors import InvalidArguments
from lingos_kernel.scheduling.accounts import AttainedService, Fair
from lingos_kernel.scheduling.catalogue import POLICIES, make_policy
from lingos_kernel.scheduling.policies import Fifo, RoundRobin
from lingos_kernel.scheduling.policy import Policy
from lingos_kernel.simulation.request import SimRequest, SimSequence
from lingos_kernel.simulation.simulator import Machine, Simulator
from lingos_kernel.simulation.step_time import StepTime
from lingos_kernel.simulation.summary import (
    FairnessMeter,
    program_turnarounds_s,
    summarize,
    turnaround_s,
)

STEP_TIME = StepTime(base_s=0.01, row_s=0.001, prefill_token_s=0.0002, kv_slot_s=1e-7)
MACHINE = Machine(STEP_TIME, pages=1000, max_running=8, max_batch_tokens=64)
SMALL = Machine(STEP_TIME, pages=12, max_running=4, max_batch_tokens=16)

arrivals = st.lists(
    st.builds(
        lambda at, prompt, output, tenant, program, priority, due: SimRequest(
            "", at, prompt, output, tenant, program, priority, due
        ),
        st.floats(0, 3),
        st.integers(1, 90),
        st.integers(1, 60),
        st.sampled_from("ab"),
        st.sampled_from(["", "p", "q"]),
        st.integers(-1, 1),
        st.none() | st.floats(0, 10),
    ),
    max_size=15,
).map(lambda requests: [replace(r, key=str(n)) for n, r in enumerate(requests)])


def play(
    requests: list[SimRequest], policy: Policy, machine: Machine = MACHINE
) -> list[SimSequence]:
    """Run to the end."""
    return Simulator(requests, policy, machine).run()


@given(arrivals, st.sampled_from(sorted(POLICIES)), st.booleans())
@settings(max_examples=150, deadline=None)
def test_everything_ends_once_with_all_its_tokens(
    requests: list[SimRequest], name: str, is_chained: bool
) -> None:
    """Whatever comes, under whatever policy and with little memory; the same each time."""
    if is_chained:
        requests = [
            replace(r, follows=str(n - 1) if n % 3 else None, shared_tokens=r.prompt_tokens // 2)
            for n, r in enumerate(requests)
        ]
    ended = play(requests, make_policy(name), SMALL)
    assert sorted(s.key for s in ended) == sorted(r.key for r in requests)
    for sequence in ended:
        request = sequence.request
        assert sequence.length == request.prompt_tokens + request.output_tokens
        assert sequence.started_s is not None
        assert sequence.first_token_s is not None
        assert sequence.end_s is not None
        assert request.arrival_s <= sequence.arrival_s <= sequence.started_s
        assert sequence.started_s < sequence.first_token_s <= sequence.end_s
    again = play(requests, make_policy(name), SMALL)
    assert [(s.key, s.end_s) for s in again] == [(s.key, s.end_s) for s in ended]


def test_time_is_that_of_the_steps() -> None:
    """A prompt of one step and three more tokens take four steps of known length."""
    (only,) = play([SimRequest("r", 5.0, 40, 4)], Fifo())
    slots = [40, 41, 42, 43]
    expected_s = STEP_TIME.seconds(0, 40, 40) + sum(STEP_TIME.seconds(1, 0, s) for s in slots[1:])
    assert turnaround_s(only) == pytest.approx(expected_s)
    assert only.served_tokens == 43


def test_the_turn_before_leaves_its_pages() -> None:
    """A request that follows another begins after it, with what it computed."""
    requests = [
        SimRequest("one", 0.0, 64, 17),
        SimRequest("two", 0.0, 100, 2, follows="one", shared_tokens=80),
    ]
    one, two = play(requests, Fifo())
    assert one.end_s is not None
    assert two.arrival_s == one.end_s
    assert two.served_tokens == 100 - 80 + 1


def test_what_can_never_run_is_refused() -> None:
    """A request larger than the memory is named."""
    with pytest.raises(InvalidArguments, match="huge"):
        Simulator([SimRequest("huge", 0.0, 10_000, 1)], Fifo(), SMALL)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_urgent_work_hardly_notices_a_flood(name: str) -> None:
    """Under every policy a more urgent class is served as if the others were not there."""
    flood = [SimRequest(f"f{n}", 0.0, 60, 200, priority=10) for n in range(40)]
    urgent = [SimRequest(f"u{n}", 1.0 + n, 60, 5, priority=0) for n in range(5)]
    ended = play([*flood, *urgent], make_policy(name))
    alone = play(urgent, make_policy(name))
    with_flood = summarize([s for s in ended if s.key.startswith("u")])
    without = summarize(alone)
    step_s = STEP_TIME.seconds(8, 64, 8 * 260)
    assert with_flood.first_token_p99_s <= 2 * without.first_token_p99_s + step_s
    assert sum(s.preemptions for s in ended if s.key.startswith("u")) == 0


@pytest.mark.parametrize("weights", [{}, {"flood": 3.0}])
def test_a_flooding_tenant_gets_its_weight(weights: dict[str, float]) -> None:
    """Two tenants that always have work waiting are served by their weights, within 5 %."""
    flood = [SimRequest(f"f{n}", 0.0, 50, 40, tenant="flood") for n in range(600)]
    steady = [SimRequest(f"s{n}", 0.0, 50, 40, tenant="steady") for n in range(150)]
    simulator = Simulator([*flood, *steady], make_policy("fair", weights), MACHINE)
    simulator.step()
    while any(sequence.tenant == "steady" for sequence in simulator.waiting):
        simulator.step()
    everybody = [*simulator.running, *simulator.ended.values()]
    served = {
        tenant: sum(s.served_tokens for s in everybody if s.tenant == tenant)
        for tenant in ("flood", "steady")
    }
    assert served["flood"] / served["steady"] == pytest.approx(weights.get("flood", 1), rel=0.05)


def test_shares_are_kept_in_short_windows_of_a_large_batch() -> None:
    """Who runs has been promised a prompt: a tenant does not fill all places before it counts."""
    weights = {"flood": 1.0, "steady": 3.0}
    requests = [
        SimRequest(f"{tenant}-{n}", 0.0, 150 + n % 100, 30, tenant=tenant)
        for tenant in weights
        for n in range(600)
    ]
    machine = replace(MACHINE, pages=5000, max_running=64, max_batch_tokens=128)
    simulator = Simulator(requests, make_policy("fair", weights), machine)

    def run_to(now_s: float) -> float:
        while simulator.now_s < now_s:
            simulator.step()
        everybody = [*simulator.running, *simulator.ended.values()]
        served = dict.fromkeys(weights, 0)
        for sequence in everybody:
            served[sequence.tenant] += sequence.served_tokens
        return served["steady"] - 3 * served["flood"]

    total = run_to(5.0)
    for window in range(1, 6):
        total, before = run_to(5.0 + 5 * window), total
        assert abs(total - before) < 200


def test_ten_tenants_share_alike() -> None:
    """However much each asks for, while it asks it gets the same: Jain's index is near 1."""
    requests = [
        SimRequest(f"{tenant}-{n}", 0.0, 50, 40, tenant=str(tenant))
        for tenant in range(10)
        for n in range(20 + 10 * tenant)
    ]
    index = {}
    for policy in (Fifo(), Fair()):
        meter = FairnessMeter(window_s=10.0)
        Simulator(requests, policy, MACHINE, observe=meter).run()
        index[policy.name] = meter.index or 0.0
    assert index["fair"] > 0.98
    assert index["fifo"] < 0.9


def test_no_tenant_starves_under_fair() -> None:
    """One request beside a flood waits no longer than a few of the flood's take."""
    flood = [SimRequest(f"f{n}", 0.0, 50, 100, tenant="flood") for n in range(200)]
    lonely = SimRequest("lonely", 1.0, 50, 10, tenant="lonely")
    ended = {s.key: s for s in play([*flood, lonely], Fair())}
    first = ended["f0"]
    assert turnaround_s(ended["lonely"]) < 2 * turnaround_s(first)


def test_turns_give_short_answers_early() -> None:
    """With more work than places, a turn's quantum lets short requests through between long."""
    long = [SimRequest(f"l{n}", 0.0, 20, 1000) for n in range(16)]
    short = [SimRequest(f"s{n}", 0.1, 20, 10) for n in range(8)]
    by_turns = {s.key: s for s in play([*long, *short], RoundRobin(quantum_tokens=64))}
    in_order = {s.key: s for s in play([*long, *short], Fifo())}
    for request in short:
        assert turnaround_s(by_turns[request.key]) < 0.5 * turnaround_s(in_order[request.key])


def test_short_programs_are_not_held_up_by_long_ones() -> None:
    """Least attained service ends agents of few turns long before those of many."""
    requests = [
        SimRequest(
            f"{program}.{turn}",
            0.0 if turns == 20 else 20.0,
            60,
            60,
            program=f"{program}",
            follows=f"{program}.{turn - 1}" if turn else None,
        )
        for program, turns in enumerate([20] * 20 + [2] * 20)
        for turn in range(turns)
    ]
    means = {}
    for policy in (Fifo(), AttainedService(level_tokens=500)):
        ended = play(requests, policy)
        short = [s for s in ended if int(s.program) >= 20]
        turnarounds = program_turnarounds_s(short)
        means[policy.name] = sum(turnarounds) / len(turnarounds)
    assert means["attained-service"] < 0.6 * means["fifo"]


def test_deadlines_are_kept_where_order_would_miss_them() -> None:
    """Work that is due soon goes before work that is not."""
    lax = [SimRequest(f"l{n}", 0.0, 50, 50, deadline_s=100.0) for n in range(40)]
    tight = [SimRequest(f"t{n}", 0.5, 50, 10, deadline_s=2.5) for n in range(4)]
    late = {
        name: summarize(play([*lax, *tight], make_policy(name))).late
        for name in ("deadline", "fifo")
    }
    assert late["deadline"] == 0
    assert late["fifo"] == 4
